import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { coming } from "../state";
import { AttachButton, PickedFiles } from "./attachments";
import { useSurroundings } from "./context";
import { Icon } from "./icons";
import { sends } from "./keys";

export function Composer({ focus }: { focus: number }) {
  const { chat, settings, text, say } = useSurroundings();
  const [value, setValue] = useState(chat.draft);
  const box = useRef<HTMLTextAreaElement>(null);
  const { conversation, conversations, outbox } = chat.state;
  const human = conversations.find(({ id }) => id === conversation)?.mode === "human";
  const sending = outbox.some((item) => item.state === "sending" && item.conversation === conversation);
  const busy = !human && (coming(chat.state) !== undefined || sending);
  const tooMany = value.trim().length - settings.max_length;

  useEffect(() => {
    if (focus > 0) box.current?.focus();
  }, [focus]);

  useLayoutEffect(() => {
    const area = box.current!;
    area.style.height = "auto";
    // The style sheet bounds it to five lines.
    area.style.height = `${area.scrollHeight}px`;
  }, [value]);

  // Where the visitor sent while an answer or files were still on their way, and how many files had been refused.
  const [held, setHeld] = useState<{ where: string | null; refused: number } | null>(null);
  const write = (written: string) => {
    setHeld(null);
    setValue(written);
    chat.draft = written;
    if (written) void chat.connect();
  };
  const { picked } = chat.state;
  const files = picked.flatMap(({ attachment }) => attachment ?? []);
  const uploading = picked.some(({ attachment, reason }) => !attachment && !reason);
  const refused = picked.filter(({ reason }) => reason).length;
  const ready = (value.trim() !== "" || files.length > 0 || uploading) && tooMany <= 0;
  const waits = busy || uploading;
  const send = () => {
    if (!ready) return;
    if (waits) {
      setHeld({ where: conversation, refused });
      if (busy) say(text("answer_in_progress"));
      return;
    }
    // A question has words, be it the names of its files.
    chat.send(value.trim() || files.map(({ name }) => name).join(", "), files);
    write("");
    box.current?.focus();
  };
  // It goes when all has come, and stays where a file turned out not to, or the visitor has gone on to somewhere else.
  const left = held?.where && held.where !== conversation;
  useEffect(() => {
    if (!held || (waits && !left)) return;
    setHeld(null);
    if (!left && refused <= held.refused) send();
  }, [held, waits, left]);
  /** Whether it is files that are given. Words stay words, also those that bring a picture of themselves. */
  const holdsFiles = (data: DataTransfer | null) =>
    chat.files !== null && data?.types.includes("Files") === true && !data.types.includes("text/plain");
  const stoppable = busy && settings.agent.stops && !sending;
  const label = text(stoppable ? "stop" : "send");

  return (
    <form
      class="composer"
      onDragOver={(event) => {
        if (holdsFiles(event.dataTransfer)) event.preventDefault();
      }}
      onDrop={(event) => {
        if (!holdsFiles(event.dataTransfer)) return;
        event.preventDefault();
        chat.files?.add(event.dataTransfer!.files);
      }}
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <PickedFiles onRemoved={() => box.current?.focus()} />
      <AttachButton />
      <textarea
        ref={box}
        rows={1}
        value={value}
        aria-label={text("placeholder")}
        placeholder={text("placeholder")}
        enterkeyhint="send"
        aria-invalid={tooMany > 0}
        aria-describedby={tooMany > 0 ? "too-long" : undefined}
        onPaste={(event) => {
          if (holdsFiles(event.clipboardData)) chat.files?.add(event.clipboardData!.files);
        }}
        onInput={(event) => write(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (!sends(event)) return;
          event.preventDefault();
          send();
        }}
      />
      <button
        type={stoppable ? "button" : "submit"}
        class="send"
        aria-label={label}
        title={label}
        disabled={!stoppable && (!ready || busy || held !== null)}
        onClick={() => {
          if (!stoppable) return;
          void chat.stop();
          box.current?.focus();
        }}
      >
        <Icon name={stoppable ? "square" : "send"} />
      </button>
      {tooMany > 0 && (
        <p id="too-long" class="too-long">
          {text("too_long", { count: tooMany })}
        </p>
      )}
      {held && busy && <p class="notice">{text("answer_in_progress")}</p>}
    </form>
  );
}
