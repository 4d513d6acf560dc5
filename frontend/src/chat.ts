// The one place that joins state, session, socket and storage. Views call its methods and draw its state.
import { ApiError } from "./api";
import { backoff } from "./backoff";
import { later } from "./fetched";
import type { Files } from "./files";
import type { Page } from "./messages";
import type {
  Attachment,
  Conversation,
  Message,
  Results,
  ServerFrame,
  SessionAnswer,
  Settings,
} from "./protocol";
import { Session } from "./session";
import { Socket } from "./socket";
import { type Action, coming, initial, type Outgoing, type PendingVote, reduce, type State } from "./state";
import type { Kept } from "./storage";
import { type TextKey, wordsFor } from "./text";
import { uuid } from "./uuid";
import { Votes, type Word } from "./votes";

/** As many attempts without a `ready` in a row, and we read by polling until one succeeds. */
const POLL_AFTER = 3;
const POLL_BUSY_MS = 1_500;
const POLL_IDLE_MS = 5_000;
const POLL_UNSEEN_MS = 30_000;
/** Every so many polls also ask for the conversations: a person may have taken over. */
const POLL_LIST_EVERY = 4;

const codeOf = (error: unknown) => (error instanceof ApiError ? error.code : undefined);

export interface ChatOptions {
  base: string;
  settings: Settings;
  locale: string;
  kept: Kept;
  page(): Page;
}

export class Chat {
  state: State;
  readonly #session: Session;
  readonly #socket: Socket;
  readonly #kept: Kept;
  readonly #votes: Votes;
  readonly #page: () => Page;
  readonly #listeners = new Set<() => void>();
  #seen = false;
  #polling: ReturnType<typeof setTimeout> | undefined;
  #polls = 0;
  #reconnect: ReturnType<typeof setTimeout> | undefined;
  readonly #limits: Settings["attachments"];
  #files: Files | null = null;
  #sending = false;
  #sendFailures = 0;
  #resend: ReturnType<typeof setTimeout> | undefined;

  constructor({ base, settings, locale, kept, page }: ChatOptions) {
    this.#kept = kept;
    this.#page = page;
    this.state = {
      ...initial,
      paused: settings.paused,
      online: navigator.onLine,
      conversation: kept.get<string>("conversation"),
      outbox: Object.values(kept.all<Outgoing>("outbox"))
        .sort((a, b) => a.createdAt - b.createdAt)
        .map((item) => (item.state === "refused" ? item : { ...item, state: "waiting", retryAt: 0 })),
    };
    this.#session = new Session(base, settings.key, kept, { page, locale }, (answer) =>
      this.#started(answer),
    );
    this.#socket = new Socket(`${base.replace(/^http/, "ws")}ws/v1/`, {
      hello: () => ({
        type: "hello",
        token: this.#session.token ?? "",
        conversation: this.state.conversation,
      }),
      frame: (frame) => this.#heard(frame),
      down: (failures) => this.#down(failures),
      refused: () => this.#session.renew(),
    });
    this.#votes = new Votes({
      kept,
      pending: () => this.state.votes,
      dispatch: (action) => this.dispatch(action),
      put: (id, word) => this.#session.call("PUT", `messages/${id}/feedback`, word),
    });
    this.#limits = settings.attachments;
    kept.onChange((name) => {
      // Erased in another tab.
      if (name === "token" && !this.#session.known) this.#forget();
      const id = /^outbox:(.+)/.exec(name)?.[1];
      // Another tab has sent it, or the visitor threw it away there.
      if (id && kept.get(name) === null) this.dispatch({ type: "unqueued", id });
    });
  }

  /** Whether what waits here outlives the page. */
  get lasting(): boolean {
    return this.#kept.lasting;
  }

  /** Calls `listener` after every change; returns its undo. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Picks up where this browser left off. A visitor who was never here causes no request until they write. */
  start(): void {
    const back = () => {
      this.dispatch({ type: "set", change: { online: navigator.onLine } });
      if (!navigator.onLine) return;
      this.#socket.poke();
      this.#sendFailures = 0;
      for (const { id, reason } of this.state.outbox) {
        if (!reason) this.dispatch({ type: "outgoing", id, change: { retryAt: 0 } });
      }
      void this.#flush();
      this.#votes.flush();
    };
    addEventListener("online", back);
    addEventListener("offline", back);
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") back();
      this.#markRead();
    });
    if (this.#session.known) {
      this.dispatch({ type: "set", change: { votes: this.#kept.all<PendingVote>("vote") } });
      if (this.state.conversation) this.dispatch({ type: "set", change: { loading: true } });
      void this.connect();
    } else if (this.state.conversation) this.dispatch({ type: "opened", conversation: null });
  }

  /** Gets a session and a socket, if they are not there yet. Called when the visitor begins to write. */
  async connect(): Promise<void> {
    if (this.#reconnect) return;
    try {
      await this.#session.ensure();
    } catch (error) {
      this.#failed(error);
      if (!(error instanceof ApiError && error.passing) || this.#reconnect) return;
      this.#sendFailures += 1;
      this.#reconnect = setTimeout(() => {
        this.#reconnect = undefined;
        void this.connect();
      }, backoff(this.#sendFailures));
    }
  }

  /** Whether the visitor sees the panel. */
  show(seen: boolean): void {
    this.#seen = seen;
    this.#markRead();
    if (seen && this.state.link === "polling") this.#poll(0);
  }

  dispatch(action: Action): void {
    const before = this.state;
    const after = reduce(before, action);
    if (after === before) return;
    this.state = after;
    if (after.gap && !before.gap && after.conversation) {
      this.#socket.send({ type: "sync", conversation: after.conversation });
    }
    if (after.outbox !== before.outbox) this.#keepOutbox(before.outbox, after.outbox);
    if (after.conversation !== before.conversation) this.#kept.set("conversation", after.conversation);
    // An answer ended: what waited for it may go.
    if (coming(before) && !coming(after)) void this.#flush();
    for (const listener of this.#listeners) listener();
    if (after.messages !== before.messages || after.conversations !== before.conversations) this.#markRead();
  }

  // ---- what the visitor does

  send(text: string, files: readonly Attachment[] = []): void {
    const outgoing: Outgoing = {
      id: uuid(),
      conversation: this.state.conversation,
      text,
      ...(files.length ? { files } : {}),
      createdAt: Date.now(),
      state: "sending",
    };
    this.dispatch({ type: "queued", outgoing });
    if (files.length) this.dispatch({ type: "set", change: { picked: [] } });
    void this.#flush();
  }

  /** What becomes of files that the visitor gives; null where none can be given, or not yet. */
  get files(): Files | null {
    const loaded = this.#limits && later();
    if (loaded) {
      this.#files ??= new loaded.Files({
        limits: this.#limits!,
        picked: () => this.state.picked,
        show: (picked) => this.dispatch({ type: "set", change: { picked } }),
        call: (method, path, body) => this.#session.call(method, path, body),
      });
    }
    return this.#files;
  }

  /** Sends a refused or waiting question again, as the same one. */
  resend(id: string): void {
    this.dispatch({ type: "outgoing", id, change: { state: "waiting", retryAt: 0 } });
    void this.#flush();
  }

  discard(id: string): void {
    this.dispatch({ type: "unqueued", id });
  }

  async stop(): Promise<void> {
    const answer = coming(this.state);
    if (!answer) return;
    this.dispatch({ type: "stopping", id: answer.id });
    await this.#attempt(async () => {
      const message = await this.#session.call<Message>("POST", `messages/${answer.id}/stop`);
      this.dispatch({ type: "merge", messages: [message] });
    });
  }

  async retry(id: string): Promise<void> {
    await this.#attempt(async () => {
      const { answer } = await this.#session.call<{ answer: Message }>("POST", `messages/${id}/retry`);
      this.dispatch({ type: "merge", messages: [answer] });
      this.#poll(0);
    });
  }

  /** The visitor's word on an answer. Shown at once; taken back, visibly, if the service refuses it. */
  vote(id: string, word: Word): void {
    this.#votes.cast(id, word);
  }

  newConversation(): void {
    this.dispatch({ type: "opened", conversation: null });
  }

  open(conversation: string): void {
    if (conversation === this.state.conversation) return;
    this.dispatch({ type: "opened", conversation });
    if (this.#socket.live) this.#socket.send({ type: "sync", conversation });
    else void this.#attempt(() => this.#readNewest());
    this.#markRead();
  }

  async earlier(): Promise<void> {
    const conversation = this.state.conversation;
    if (!conversation || this.state.loading) return;
    this.dispatch({ type: "set", change: { loading: true } });
    await this.#attempt(async () => {
      // A snapshot over the socket carries no cursor, so the first look back asks for the newest page's.
      if (this.state.earlier === undefined) await this.#readNewest();
      const cursor = this.state.earlier;
      if (!cursor) return;
      const path = `conversations/${conversation}/messages?before=${encodeURIComponent(cursor)}`;
      const { results, next } = await this.#session.call<Results<Message>>("GET", path);
      this.dispatch({ type: "page", conversation, messages: results, next, older: true });
    });
    this.dispatch({ type: "set", change: { loading: false } });
  }

  /** All messages of the open conversation; null, and a notice, if they cannot be had. */
  async everything(): Promise<Message[] | null> {
    const path = `conversations/${this.state.conversation}/messages?limit=100`;
    const all: Message[] = [];
    try {
      for (let cursor: string | null = ""; cursor !== null; ) {
        const before: string = cursor && `&before=${encodeURIComponent(cursor)}`;
        const { results, next } = await this.#session.call<Results<Message>>("GET", path + before);
        all.unshift(...results);
        cursor = next;
      }
      return all;
    } catch (error) {
      this.#failed(error);
      return null;
    }
  }

  /** Has the service erase the visitor with everything kept about them, and forgets them here; or says why not. */
  async erase(): Promise<TextKey | null> {
    this.#socket.stop();
    try {
      await this.#session.erase();
    } catch (error) {
      this.#socket.start();
      return wordsFor(codeOf(error), "refused");
    }
    this.#forget();
    return null;
  }

  /** The visitor is who the site's signed `identity` says. Raises ApiError: then they are who they were. */
  async identify(identity: string): Promise<void> {
    await this.#session.identify(identity);
    // The token may be another one now.
    this.#socket.stop();
    this.#socket.start();
  }

  /** Forgets the visitor here; the service keeps what it has. */
  reset(): void {
    this.#forget();
  }

  #forget(): void {
    this.#socket.stop();
    for (const timer of [this.#polling, this.#resend, this.#reconnect]) clearTimeout(timer);
    this.#reconnect = undefined;
    this.#session.forget();
    this.dispatch({ type: "forgotten" });
  }

  async refreshConversations(): Promise<void> {
    if (!this.#session.known) return;
    const { results } = await this.#session.call<Results<Conversation>>("GET", "conversations");
    this.dispatch({ type: "conversations", conversations: results });
  }

  get draft(): string {
    return this.#kept.get<string>("draft") ?? "";
  }

  set draft(text: string) {
    this.#kept.set("draft", text);
  }

  /** Whether an answer is also heard. */
  get sound(): boolean {
    return this.#kept.get("sound") === true;
  }

  set sound(on: boolean) {
    this.#kept.set("sound", on || null);
    this.dispatch({ type: "set", change: {} });
  }

  /** Whether this tab is to ring for `message`: one tab does, once. */
  rings({ id, text }: Message): boolean {
    if (!this.sound || !text || this.#kept.get("rung") === id) return false;
    this.#kept.set("rung", id);
    return true;
  }

  // ---- questions on their way out

  #keepOutbox(before: readonly Outgoing[], after: readonly Outgoing[]): void {
    for (const { id } of before) {
      if (!after.some((item) => item.id === id)) this.#kept.set(`outbox:${id}`, null);
    }
    for (const item of after) if (!before.includes(item)) this.#kept.set(`outbox:${item.id}`, item);
  }

  /** Sends what waits in the outbox, in order, one at a time. */
  async #flush(): Promise<void> {
    clearTimeout(this.#resend);
    if (this.#sending) return;
    const next = this.state.outbox.find((item) => item.state !== "refused");
    if (!next) return;
    const early = (next.retryAt ?? 0) - Date.now();
    if (early > 0) {
      this.#resend = setTimeout(() => void this.#flush(), early);
      return;
    }
    this.#sending = true;
    try {
      // A tab that has the same question waits, and then finds it gone.
      await this.#kept.alone("send", async () => {
        if (this.#kept.get(`outbox:${next.id}`)) await this.#post(next);
        else this.dispatch({ type: "unqueued", id: next.id });
      });
      this.#sendFailures = 0;
    } catch (error) {
      this.#postFailed(next, error);
    } finally {
      this.#sending = false;
    }
    void this.#flush();
  }

  async #post(item: Outgoing): Promise<void> {
    this.dispatch({ type: "outgoing", id: item.id, change: { state: "sending" } });
    await this.#session.ensure();
    const conversation = item.conversation ?? (await this.#begin(item));
    const attachments = item.files?.map(({ id }) => id);
    const body = { id: item.id, text: item.text, page: this.#page(), attachments };
    const path = `conversations/${conversation}/messages`;
    const pair = await this.#session.call<{ question: Message; answer: Message }>("POST", path, body);
    this.dispatch({ type: "unqueued", id: item.id });
    this.dispatch({ type: "merge", messages: [pair.question, pair.answer] });
    if (!this.#socket.live) this.#poll(POLL_BUSY_MS);
  }

  /** Opens the conversation that the first question needs. */
  async #begin(item: Outgoing): Promise<string> {
    const conversation = await this.#session.call<Conversation>("POST", "conversations", {});
    this.dispatch({ type: "conversation", conversation });
    for (const { id, conversation: other } of this.state.outbox) {
      if (other === null) this.dispatch({ type: "outgoing", id, change: { conversation: conversation.id } });
    }
    if (this.state.conversation === null && item.conversation === null) {
      this.dispatch({ type: "opened", conversation: conversation.id });
      this.dispatch({ type: "set", change: { loading: false } });
    }
    return conversation.id;
  }

  #postFailed(item: Outgoing, error: unknown): void {
    const refusal = error instanceof ApiError ? error : new ApiError("refused", 0);
    const waits = (ms: number, reason?: string): Partial<Outgoing> => ({
      state: "waiting",
      retryAt: Date.now() + ms,
      ...(reason ? { reason } : {}),
    });
    let change: Partial<Outgoing>;
    if (refusal.passing) {
      this.#sendFailures += 1;
      change = waits(1_000 + backoff(this.#sendFailures));
    } else if (refusal.limited) {
      change = waits((refusal.retryAfter ?? 5) * 1000, refusal.code);
    } else if (refusal.code === "answer_in_progress") {
      // The end of that answer sends it too; the wait is for the case that its end was missed.
      change = waits(3_000, refusal.code);
    } else if (refusal.code === "not_found" && item.conversation) {
      // Its conversation is gone (another visitor now, or erased): the question starts a new one.
      if (this.state.conversation === item.conversation)
        this.dispatch({ type: "opened", conversation: null });
      change = { ...waits(0), conversation: null };
    } else {
      if (refusal.code === "widget_paused") this.dispatch({ type: "set", change: { paused: true } });
      const gone = refusal.code === "invalid" && item.files;
      change = { state: "refused", reason: gone ? "files_gone" : refusal.code };
    }
    this.dispatch({ type: "outgoing", id: item.id, change });
  }

  // ---- what the service says

  #started({ conversations, widget }: SessionAnswer): void {
    this.dispatch({ type: "session", conversations, paused: widget?.paused ?? false });
    this.#socket.start();
    if (this.state.link === "idle") this.dispatch({ type: "set", change: { link: "connecting" } });
    void this.#flush();
    this.#votes.flush();
  }

  #heard(frame: ServerFrame): void {
    if (frame.type === "error" && frame.code === "not_found") {
      this.dispatch({ type: "opened", conversation: null });
    }
    this.dispatch(frame);
    if (frame.type !== "ready") return;
    clearTimeout(this.#polling);
    this.dispatch({ type: "set", change: { link: "live", notice: null } });
    // The visitor opened another conversation since the `hello` that this answers.
    const open = this.state.conversation;
    if (open && open !== frame.conversation) this.#socket.send({ type: "sync", conversation: open });
    void this.#flush();
    this.#votes.flush();
  }

  #down(failures: number): void {
    const link = failures >= POLL_AFTER ? "polling" : "connecting";
    const was = this.state.link;
    this.dispatch({ type: "set", change: { link } });
    if (link === "polling" && was !== "polling") this.#poll(0);
  }

  #poll(delay: number): void {
    clearTimeout(this.#polling);
    if (this.#socket.live) return;
    this.#polling = setTimeout(async () => {
      try {
        await this.#readNewest();
        if (this.#polls++ % POLL_LIST_EVERY === 0) await this.refreshConversations();
        this.dispatch({ type: "set", change: { notice: null } });
      } catch (error) {
        this.#failed(error);
      }
      if (this.state.link !== "polling" && !coming(this.state)) return;
      this.#poll(this.#pollWait());
    }, delay);
  }

  #pollWait(): number {
    if (!this.#seen || document.visibilityState === "hidden") return POLL_UNSEEN_MS;
    return coming(this.state) || this.#conversation?.mode === "human" ? POLL_BUSY_MS : POLL_IDLE_MS;
  }

  async #readNewest(): Promise<void> {
    const conversation = this.state.conversation;
    if (!conversation) return;
    const path = `conversations/${conversation}/messages`;
    const { results, next } = await this.#session.call<Results<Message>>("GET", path);
    this.dispatch({ type: "page", conversation, messages: results, next, older: false });
  }

  get #conversation(): Conversation | undefined {
    return this.state.conversations.find(({ id }) => id === this.state.conversation);
  }

  #markRead(): void {
    const open = this.#conversation;
    if (!open?.unread || !this.#seen || document.visibilityState === "hidden") return;
    this.dispatch({ type: "read", conversation: open.id });
    this.#session.call("POST", `conversations/${open.id}/read`).catch(() => {});
  }

  async #attempt(action: () => Promise<void>): Promise<void> {
    try {
      await action();
    } catch (error) {
      this.#failed(error);
    }
  }

  #failed(error: unknown): void {
    const code = codeOf(error);
    if (code === "widget_paused") this.dispatch({ type: "set", change: { paused: true, loading: false } });
    else this.dispatch({ type: "set", change: { notice: wordsFor(code, "refused"), loading: false } });
  }
}
