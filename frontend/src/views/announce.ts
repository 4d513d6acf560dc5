import { useEffect, useRef } from "preact/hooks";
import type { Chat } from "../chat";
import { later } from "../fetched";
import { plainText } from "../markdown";
import { isFinal } from "../state";
import { type Text, wordsFor } from "../text";

/**
 * Has a screen reader say each answer once, whole, when it is finished, and rings for it if that is wanted; what was
 * there on arrival is not said.
 */
export function useAnnouncements(chat: Chat, text: Text, name: string, say: (words: string) => void): void {
  const { state } = chat;
  const done = useRef(new Set<string>());
  const arrived = useRef<string | null>(null);
  useEffect(() => {
    if (state.loading || !state.messages.length) return;
    const silent = arrived.current !== state.conversation;
    arrived.current = state.conversation;
    for (const message of state.messages) {
      if (!isFinal(message) || done.current.has(message.id)) continue;
      done.current.add(message.id);
      if (silent || message.role === "visitor") continue;
      if (chat.rings(message)) later()?.chime();
      if (message.status === "failed") say(text(wordsFor(message.error?.code, "answer_failed")));
      else if (message.text) say(text("answered", { name, text: plainText(message.text) }));
    }
  }, [state.messages, state.loading]);
}
