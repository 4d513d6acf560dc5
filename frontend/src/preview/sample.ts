// A chat without a service: what is asked gets a word of its own, votes count at once, and all of it is forgotten with
// the page.
import { Chat } from "../chat";
import { Files } from "../files";
import type { Attachment, Message, Role, Settings } from "../protocol";
import type { Kept } from "../storage";
import { uuid } from "../uuid";
import type { Word } from "../votes";

const CONVERSATION = "sample";
const QUESTION = "When are you open?";
const ANSWER = `We are here **Tuesday to Saturday**:

- Tuesday to Friday, 9 to 18
- Saturday, 9 to 14

On a Monday, [write to us](https://example.com/contact).`;
const SOURCES = [{ title: "Opening hours", url: "https://example.com/hours" }];
const NO_AGENT = "This is a preview: nothing was sent. On your site, your **agent** answers here.";

/** Keeps things for as long as the page is there. */
function inMemory(): Kept {
  const entries = new Map<string, unknown>();
  return {
    get: <T>(name: string) => (entries.get(name) ?? null) as T | null,
    set: (name, value) => void entries.set(name, value),
    all: () => ({}),
    clear: () => entries.clear(),
    lasting: true,
    onChange() {},
    alone: (_name, work) => work(),
  };
}

/** What the service would say of a file; nobody gets it. */
async function uploaded<T>(_method: string, path: string, file?: Blob): Promise<T> {
  const name = new URL(path, location.href).searchParams.get("name");
  return { id: uuid(), name, content_type: file?.type, size: file?.size } as T;
}

export class SampleChat extends Chat {
  /** Of the files that can be given; null: none can. */
  limits: Settings["attachments"] = null;
  #said = 0;

  constructor(settings: Settings, locale: string) {
    const page = () => ({ url: "", title: "", referrer: "" });
    super({ base: "", settings, locale, kept: inMemory(), page });
    this.talk();
  }

  /** Shows the sample, unless there is a conversation already. */
  talk(): void {
    if (this.state.conversation) return;
    this.#open();
    this.#say("visitor", QUESTION);
    this.#say("agent", ANSWER, { citations: SOURCES });
  }

  override get files(): Files | null {
    if (!this.limits) return null;
    return new Files({
      limits: this.limits,
      picked: () => this.state.picked,
      show: (picked) => this.dispatch({ type: "set", change: { picked } }),
      call: uploaded,
    });
  }

  override async connect(): Promise<void> {}

  override send(text: string, attachments: readonly Attachment[] = []): void {
    if (!this.state.conversation) this.#open();
    this.#say("visitor", text, { attachments: [...attachments] });
    this.dispatch({ type: "set", change: { picked: [] } });
    this.#say("agent", NO_AGENT);
  }

  override vote(id: string, { vote, comment, reasons }: Word): void {
    this.dispatch({ type: "voted", id, feedback: { vote, comment, reasons } });
  }

  override async everything(): Promise<Message[]> {
    return [...this.state.messages];
  }

  override async erase(): Promise<null> {
    this.reset();
    return null;
  }

  #open(): void {
    this.dispatch({ type: "opened", conversation: CONVERSATION });
    this.dispatch({ type: "set", change: { loading: false } });
  }

  #say(role: Role, text: string, more: Partial<Message> = {}): void {
    this.#said += 1;
    const now = new Date(this.#said).toISOString();
    const message: Message = {
      id: `sample-${this.#said}`,
      conversation: CONVERSATION,
      role,
      text,
      status: "completed",
      seq: 0,
      created_at: now,
      completed_at: now,
      citations: [],
      feedback: null,
      error: null,
      rateable: role === "agent",
      ...more,
    };
    this.dispatch({ type: "message", message });
  }
}
