// Votes on their way out. A vote is kept in the browser from the click until the service has it or refuses it: through a
// lost network, a closed tab, a reload. Per answer only the newest word is kept and sent, one request at a time.
import { ApiError } from "./api";
import { backoff } from "./backoff";
import type { Feedback } from "./protocol";
import type { Action, PendingVote } from "./state";
import type { Kept } from "./storage";

/** As the visitor gives it. */
export type Word = Pick<PendingVote, "vote" | "comment" | "reasons">;

/** A widget that is paused takes no sessions, but will again. */
const PAUSED_MS = 60_000;

interface Line {
  kept: Kept;
  pending(): Readonly<Record<string, PendingVote>>;
  dispatch(action: Action): void;
  put(id: string, word: Word): Promise<Feedback>;
}

export class Votes {
  readonly #line: Line;
  /** Answers whose vote is being sent. */
  readonly #sending = new Set<string>();
  #failures = 0;
  #again: ReturnType<typeof setTimeout> | undefined;
  #newest = 0;

  constructor(line: Line) {
    this.#line = line;
    line.kept.onChange((name) => {
      if (name.startsWith("vote:")) this.#heardFromTab(name.slice("vote:".length));
    });
  }

  /** The visitor's word on an answer, instead of any earlier one. Shown and kept at once, then sent. */
  cast(id: string, { vote, comment, reasons }: Word): void {
    this.#newest = Math.max(Date.now(), this.#newest + 1);
    const pending = { vote, comment, reasons, at: this.#newest };
    this.#line.kept.set(`vote:${id}`, pending);
    this.#line.dispatch({ type: "vote", id, pending });
    void this.#send(id);
  }

  /** Tries to send all that wait. */
  flush(): void {
    clearTimeout(this.#again);
    for (const [id, { failed }] of Object.entries(this.#line.pending())) {
      if (!failed) void this.#send(id);
    }
  }

  async #send(id: string): Promise<void> {
    if (this.#sending.has(id)) return;
    this.#sending.add(id);
    for (let wish = this.#wish(id); wish; wish = this.#wish(id)) {
      const { vote, comment, reasons } = wish;
      // If the visitor changes their mind meanwhile, that is sent next, whatever became of this.
      const settle = (pending: PendingVote | null) => {
        if (this.#wish(id)?.at === wish?.at) this.#settle(id, pending);
      };
      try {
        const feedback = await this.#line.put(id, { vote, comment, reasons });
        this.#failures = 0;
        this.#line.dispatch({ type: "voted", id, feedback });
        settle(null);
      } catch (error) {
        const refusal = error instanceof ApiError ? error : new ApiError("refused", 0);
        if (this.#isPassing(refusal)) {
          this.#later(id, refusal);
          break;
        }
        settle({ ...wish, failed: refusal.code });
      }
    }
    this.#sending.delete(id);
  }

  #wish(id: string): PendingVote | null {
    const wish = this.#line.pending()[id];
    return wish && !wish.failed ? wish : null;
  }

  /** Nothing waits for `id` any more. */
  #settle(id: string, pending: PendingVote | null): void {
    this.#line.kept.set(`vote:${id}`, null);
    this.#line.dispatch({ type: "vote", id, pending });
  }

  #isPassing({ passing, limited, code }: ApiError): boolean {
    return passing || limited || code === "widget_paused";
  }

  #later(id: string, { code, retryAfter }: ApiError): void {
    const wish = this.#wish(id);
    if (wish) this.#line.dispatch({ type: "vote", id, pending: { ...wish, waits: true } });
    this.#failures += 1;
    const wait = code === "widget_paused" ? PAUSED_MS : 1_000 + backoff(this.#failures);
    clearTimeout(this.#again);
    this.#again = setTimeout(() => this.flush(), Math.max(wait, (retryAfter ?? 0) * 1000));
  }

  /** Another tab of this visitor has a newer word, or its word has arrived. */
  #heardFromTab(id: string): void {
    const theirs = this.#line.kept.get<PendingVote>(`vote:${id}`);
    const ours = this.#wish(id);
    if (theirs && theirs.at > (ours?.at ?? 0)) this.#line.dispatch({ type: "vote", id, pending: theirs });
    else if (!theirs && ours && !this.#sending.has(id))
      this.#line.dispatch({ type: "vote", id, pending: null });
  }
}
