// Who the visitor is to the service: a token, got when it is first needed, kept in the browser, and exchanged for
// a new one when it is refused. All calls go through here, so that none of them has to think of it.
import { ApiError, call } from "./api";
import type { Page } from "./messages";
import type { SessionAnswer } from "./protocol";
import type { Kept } from "./storage";

const TOKEN_CODES = ["token_invalid", "token_expired"];

export class Session {
  #starting: Promise<SessionAnswer> | null = null;
  #started = false;

  constructor(
    readonly base: string,
    readonly widget: string,
    readonly kept: Kept,
    readonly context: { page(): Page; locale: string },
    readonly onStart: (answer: SessionAnswer) => void,
  ) {}

  get token(): string | null {
    return this.kept.get<string>("token");
  }

  /** Whether this browser has been here before. */
  get known(): boolean {
    return this.token !== null;
  }

  /** Makes sure that there is a session; any number of callers share one request. */
  async ensure(): Promise<void> {
    if (!this.#started) await this.renew();
  }

  /** Asks for a session anew, as the same visitor if the service still knows the token. */
  renew(identity?: string): Promise<SessionAnswer> {
    this.#starting ??= this.#start(identity).finally(() => {
      this.#starting = null;
    });
    return this.#starting;
  }

  /** The same, with the site's signed word on who the visitor is. */
  async identify(identity: string): Promise<void> {
    await this.#starting?.catch(() => {});
    await this.renew(identity);
  }

  async #start(identity?: string): Promise<SessionAnswer> {
    const path = `widgets/${encodeURIComponent(this.widget)}/sessions`;
    const enter = async () => {
      const { locale, page } = this.context;
      const body = { token: this.token ?? undefined, identity, locale, page: page() };
      const entered = await call<SessionAnswer>(this.base, "POST", path, null, body);
      this.kept.set("token", entered.token);
      return entered;
    };
    // Two tabs of somebody new are one visitor: the second one comes with what the first one got.
    const answer = await (this.known ? enter() : this.kept.alone("enter", enter));
    this.#started = true;
    this.onStart(answer);
    return answer;
  }

  /** Has the service erase the visitor, and forgets them here. Other tabs let go before their sockets are refused. */
  async erase(): Promise<void> {
    await this.ensure();
    const token = this.token;
    this.kept.set("token", null);
    try {
      await call(this.base, "DELETE", "visitor", token);
    } catch (error) {
      this.kept.set("token", token);
      throw error;
    }
    this.forget();
  }

  /** From now on this browser has not been here. */
  forget(): void {
    this.kept.clear();
    this.#started = false;
  }

  async call<T>(method: string, path: string, body?: unknown): Promise<T> {
    await this.ensure();
    try {
      return await call<T>(this.base, method, path, this.token, body);
    } catch (error) {
      if (!(error instanceof ApiError) || !TOKEN_CODES.includes(error.code)) throw error;
      await this.renew();
      return call<T>(this.base, method, path, this.token, body);
    }
  }
}
