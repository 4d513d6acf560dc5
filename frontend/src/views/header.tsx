import { useSurroundings } from "./context";
import { Icon, IconButton } from "./icons";
import { Menu } from "./menu";

interface HeaderProps {
  /** Missing where the panel is a page of its own: there is nothing to close. */
  onClose?: (() => void) | undefined;
  listing: boolean;
  onList(open: boolean): void;
  onNew(): void;
}

export function Header({ onClose, listing, onList, onNew }: HeaderProps) {
  const { chat, text, name } = useSurroundings();
  const { conversation, conversations, messages } = chat.state;
  const human = conversations.find(({ id }) => id === conversation)?.mode === "human";
  const others = conversations.some(({ id }) => id !== conversation);
  const unread = conversations.some((each) => each.id !== conversation && each.unread > 0);
  return (
    <div class="head">
      {listing ? (
        <IconButton icon="back" label={text("back")} onClick={() => onList(false)} />
      ) : (
        <span class="avatar" aria-hidden="true">
          {human ? <Icon name="person" /> : [...name][0]?.toUpperCase()}
        </span>
      )}
      <div class="head-text">
        <h1>{listing ? text("conversations") : name}</h1>
        {!listing && (human || text("subtitle")) && (
          <p class={human ? "human" : ""}>
            <bdi>{text(human ? "human" : "subtitle")}</bdi>
          </p>
        )}
      </div>
      {!listing && others && (
        <IconButton
          icon="list"
          class={unread ? "marked" : ""}
          label={text("conversations")}
          onClick={() => onList(true)}
        />
      )}
      {(conversation !== null || messages.length > 0) && (
        <IconButton icon="compose" label={text("new_conversation")} onClick={onNew} />
      )}
      {!listing && (conversations.length > 0 || messages.length > 0) && <Menu />}
      {onClose && <IconButton icon="close" label={text("close")} onClick={onClose} />}
    </div>
  );
}
