import { useEffect, useRef } from "preact/hooks";
import { useSurroundings } from "./context";

const when = (time: string, locale: string) =>
  new Date(time).toLocaleString(locale, { dateStyle: "medium", timeStyle: "short" });

export function Conversations({ onDone }: { onDone(): void }) {
  const { chat, text } = useSurroundings();
  const list = useRef<HTMLUListElement>(null);
  const locale = document.documentElement.lang || "en";
  useEffect(() => {
    chat.refreshConversations().catch(() => {});
    list.current?.querySelector("button")?.focus();
  }, []);
  return (
    <ul class="conversations" ref={list}>
      {chat.state.conversations.map((conversation) => (
        <li key={conversation.id}>
          <button
            type="button"
            aria-current={conversation.id === chat.state.conversation}
            onClick={() => {
              chat.open(conversation.id);
              onDone();
            }}
          >
            <bdi class="title">{conversation.title || text("untitled")}</bdi>
            <span class="when">{when(conversation.updated_at, locale)}</span>
            {conversation.unread > 0 && (
              <span class="count" role="img" aria-label={text("unread", { count: conversation.unread })}>
                {conversation.unread}
              </span>
            )}
          </button>
        </li>
      ))}
    </ul>
  );
}
