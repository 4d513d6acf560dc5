import { useEffect, useRef } from "preact/hooks";
import { useSurroundings } from "./context";

const UNITS: [Intl.RelativeTimeFormatUnit, number][] = [
  ["day", 86_400_000],
  ["hour", 3_600_000],
  ["minute", 60_000],
];

function ago(time: string, locale: string): string {
  const past = Date.parse(time) - Date.now();
  const format = new Intl.RelativeTimeFormat(locale, { numeric: "auto" });
  for (const [unit, ms] of UNITS) {
    if (Math.abs(past) >= ms) return format.format(Math.round(past / ms), unit);
  }
  return format.format(0, "minute");
}

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
            <span class="title">{conversation.title || text("untitled")}</span>
            <span class="when">{ago(conversation.updated_at, locale)}</span>
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
