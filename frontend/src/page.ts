// What a site may ask of the chat, and hear of it, by the global that loader.ts puts on its page (chatwidget.d.ts). The
// loader only carries; here it is done. Comes with later.ts: nobody needs it to type.
import type { ApiError } from "./api";
import type { Chat } from "./chat";
import type { ChatWidgetEvents } from "./chatwidget";
import type { Host } from "./host";
import type { Command, Commands, Look, Report } from "./messages";
import type { Settings } from "./protocol";
import { isFinal, type State } from "./state";

type Tell = <Name extends Report["type"]>(type: Name, detail: ChatWidgetEvents[Name]) => void;
type Deeds = { [Name in keyof Commands]: (value: unknown) => unknown };

/** Joins the page around the panel to `chat`. `dress` changes the panel's looks. */
export function serve(host: Host, chat: Chat, settings: Settings, dress: (look: Look) => void): void {
  const tell: Tell = (type, detail) => host.tell({ type, detail } as Report);
  const advise = (code: string, message: string) => {
    console.error(`[chatwidget] ${code}: ${message}`);
    tell("error", { code, message });
  };

  const deeds: Deeds = {
    send: (value) => words(value) && chat.send(words(value)),
    prefill: (value) => prefill(chat, String(value ?? "")),
    newConversation: () => chat.newConversation(),
    identify: (value) => chat.identify(String(value ?? "")),
    reset: () => chat.reset(),
    setContext: (value) => {
      host.context = known(value);
    },
    setLocale: (value) => dress({ locale: words(value) }),
    setTheme: (value) => dress({ theme: words(value) }),
  };
  // One after the other: what is sent after `identify` is sent by whom it names.
  let done: Promise<unknown> = Promise.resolve();
  const obey = ({ type, value }: Command) => {
    done = done
      .then(() => deeds[type]?.(value))
      .catch(({ code = "refused" }: Partial<ApiError>) => tell("error", { code }));
  };

  let before = chat.state;
  chat.subscribe(() => {
    const after = chat.state;
    report(before, after, tell);
    before = after;
  });
  if (before.conversation) tell("conversation", { id: before.conversation });
  if (settings.paused) advise("widget_paused", "switch the widget on again in the admin");
  if (!chat.lasting) {
    advise(
      "storage_blocked",
      "this browser keeps nothing for the chat: it is forgotten when the page is left",
    );
  }
  host.serve(obey);
}

const words = (value: unknown) => String(value ?? "").trim();

/** Where the visitor is, of which the service takes three texts. */
function known(value: unknown): Host["context"] {
  const given = Object(value) as Record<string, unknown>;
  const texts = ["url", "title", "referrer"].filter((name) => typeof given[name] === "string");
  return Object.fromEntries(texts.map((name) => [name, given[name]]));
}

/** Writes `text` where the visitor writes, as if they had; or keeps it until they come to where that is. */
function prefill(chat: Chat, text: string): void {
  chat.draft = text;
  const box = document.querySelector<HTMLTextAreaElement>(".composer textarea");
  if (!box) return;
  box.value = text;
  box.dispatchEvent(new Event("input", { bubbles: true }));
}

const status = ({ online, link }: State) =>
  online ? (link === "connecting" ? "connecting" : "online") : "offline";

/** Tells what is new in `after`. */
function report(before: State, after: State, tell: Tell): void {
  if (after.conversation !== before.conversation) tell("conversation", { id: after.conversation });
  else if (!before.loading) reportMessages(before, after, tell);
  if (status(after) !== status(before)) tell("status", { status: status(after) });
  if (after.notice && after.notice !== before.notice) tell("error", { code: after.notice });
  for (const { id, state, reason = "refused" } of after.outbox) {
    const was = before.outbox.find((item) => item.id === id);
    if (state === "refused" && was?.state !== state) tell("error", { code: reason });
  }
  for (const [id, { failed }] of Object.entries(after.votes)) {
    if (failed && before.votes[id]?.failed !== failed) tell("error", { code: failed });
  }
}

function reportMessages(before: State, after: State, tell: Tell): void {
  if (after.messages === before.messages) return;
  for (const message of after.messages) {
    const { id, conversation, role, status } = message;
    const was = before.messages.find((other) => other.id === id);
    const ended = isFinal(message) && !(was && isFinal(was));
    if (role === "agent" && !was) tell("response:start", { id, conversation });
    if (role === "agent" && ended) {
      tell("response:end", { id, conversation, status: status as "completed" });
      if (message.error) tell("error", { code: message.error.code });
    }
    // An answer that ended with nothing to show (a person has taken over, say) is none.
    if (ended && (role !== "agent" || message.text)) tell("message", { id, conversation, role });
    const vote = message.feedback?.vote ?? null;
    if (was && vote !== (was.feedback?.vote ?? null)) tell("feedback", { message: id, vote });
  }
}
