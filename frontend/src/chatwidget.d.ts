// The global `ChatWidget` that the script puts on a page, for sites written in TypeScript. See docs/javascript.md.

/** What each event tells. Texts of messages are never in it. */
export interface ChatWidgetEvents {
  /** The panel is loaded, and does at once what it is asked. Heard also by those who ask later. */
  ready: undefined;
  open: undefined;
  close: undefined;
  /** There is a new message: the visitor's question, a person's reply, or an answer that has ended. */
  message: { id: string; conversation: string; role: "visitor" | "agent" | "human" | "system" };
  "response:start": { id: string; conversation: string };
  "response:end": { id: string; conversation: string; status: "completed" | "failed" | "stopped" };
  /** The service has the visitor's vote on a message; null: taken back. */
  feedback: { message: string; vote: "up" | "down" | null };
  /** Messages that the visitor has not seen. */
  unread: { count: number };
  /** The conversation that is open; null: a new one, that begins with its first message. */
  conversation: { id: string | null };
  status: { status: "online" | "connecting" | "offline" };
  /** Something failed. `code` is for programs; `message`, where it is there, says what to change. */
  error: { code: string; message?: string };
}

export interface ChatWidgetApi {
  /** Opens the panel. `message` is put where one writes, for the visitor to send. */
  open(options?: { message?: string }): void;
  close(): void;
  toggle(): void;
  isOpen(): boolean;
  /** Shows the bubble again. */
  show(): void;
  /** Closes the panel and takes the bubble away. `open` still opens the panel. */
  hide(): void;
  /** Asks a question in the visitor's name, whether or not the panel is open. */
  send(text: string): void;
  /** Puts a text where one writes. */
  prefill(text: string): void;
  newConversation(): void;
  /** Who is signed in to the site, by a token that the site's server has signed. Refused: an `error`. */
  identify(token: string): void;
  /** The visitor signed out: nothing of them is kept in this browser. */
  reset(): void;
  /** Where the visitor is, as agents may be told, if the page's own address and title say it badly. */
  setContext(context: { url?: string; title?: string; referrer?: string }): void;
  setLocale(locale: string): void;
  setTheme(theme: "light" | "dark" | "auto"): void;
  /** Takes the widget off the page, with all that it listens to. */
  destroy(): void;
  /** Calls `listener` at each such event; returns its undo. */
  on<Name extends keyof ChatWidgetEvents>(
    name: Name,
    listener: (detail: ChatWidgetEvents[Name]) => void,
  ): () => void;
  /** The undo of `on`; without a listener, of all of that name. */
  off<Name extends keyof ChatWidgetEvents>(
    name: Name,
    listener?: (detail: ChatWidgetEvents[Name]) => void,
  ): void;
}

declare global {
  var ChatWidget: ChatWidgetApi;
}
