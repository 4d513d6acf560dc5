// Keeps one WebSocket to the service, whatever happens to it. It does not know what frames mean, but for `ready`, the
// sign that a connection works, and `pong`, the sign that it still does.
import { backoff, LONGEST_S } from "./backoff";
import type { ClientFrame, ServerFrame } from "./protocol";

const PING_MS = 25_000;
/** No frame within this time after a ping: the connection is dead, though the browser may not know for minutes. */
const PONG_MS = 4_000;
/** A connection that lasted this long was a good one, so the next wait is a short one again. */
const STEADY_MS = 5_000;
/** The server wants fewer of us (4429): wait at least this long. */
const TOO_MANY_MS = 10_000;

export const TOKEN_REFUSED = 4401;
const TOO_MANY = 4429;

export interface SocketEvents {
  /** What to say first, when a connection opens. */
  hello(): ClientFrame;
  frame(frame: ServerFrame): void;
  /** A connection ended or could not be made; `failures` in a row never came to a `ready`. */
  down(failures: number): void;
  /** The token was refused. The next attempt waits for what this returns. */
  refused(): Promise<unknown>;
}

export class Socket {
  #socket: WebSocket | null = null;
  #wanted = false;
  #attempt = 0;
  #failures = 0;
  #ready = false;
  #openedAt = 0;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #ping: ReturnType<typeof setTimeout> | undefined;
  #pong: ReturnType<typeof setTimeout> | undefined;

  constructor(
    readonly url: string,
    readonly events: SocketEvents,
  ) {}

  get live(): boolean {
    return this.#ready;
  }

  start(): void {
    if (this.#wanted) return;
    this.#wanted = true;
    this.#connect();
  }

  stop(): void {
    this.#wanted = false;
    clearTimeout(this.#retry);
    this.#drop();
  }

  send(frame: ClientFrame): void {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(frame));
  }

  /** The network or the visitor came back: try now, or find out whether the connection still works. */
  poke(): void {
    if (!this.#wanted) return;
    if (this.#ready) this.#sendPing();
    else if (!this.#socket) {
      this.#attempt = 0;
      clearTimeout(this.#retry);
      this.#connect();
    }
  }

  #connect(): void {
    let socket: WebSocket;
    try {
      socket = new WebSocket(this.url);
    } catch {
      // A Content-Security-Policy may forbid it outright.
      this.#lost(0);
      return;
    }
    this.#socket = socket;
    this.#openedAt = Date.now();
    // A server that takes the connection and then says nothing must not hold us for ever.
    this.#expect(PONG_MS * 2);
    socket.onopen = () => socket.send(JSON.stringify(this.events.hello()));
    socket.onmessage = ({ data }) => this.#heard(String(data));
    socket.onclose = ({ code, reason }) => {
      if (socket === this.#socket) this.#lost(code, /^retry_in=([\d.]+)/.exec(reason)?.[1]);
    };
  }

  #heard(data: string): void {
    clearTimeout(this.#pong);
    const frame = JSON.parse(data) as ServerFrame;
    if (frame.type === "ready") {
      this.#ready = true;
      this.#failures = 0;
    }
    clearTimeout(this.#ping);
    this.#ping = setTimeout(() => this.#sendPing(), PING_MS);
    this.events.frame(frame);
  }

  #sendPing(): void {
    this.send({ type: "ping" });
    this.#expect(PONG_MS);
  }

  #expect(ms: number): void {
    clearTimeout(this.#pong);
    this.#pong = setTimeout(() => this.#lost(0), ms);
  }

  #drop(): void {
    clearTimeout(this.#ping);
    clearTimeout(this.#pong);
    const socket = this.#socket;
    this.#socket = null;
    this.#ready = false;
    socket?.close();
  }

  /** `retryIn`: the seconds after which the server wants us back, if it says so. */
  #lost(code: number, retryIn?: string): void {
    const steady = this.#ready && Date.now() - this.#openedAt >= STEADY_MS;
    if (!this.#ready) this.#failures += 1;
    this.#drop();
    if (!this.#wanted) return;
    this.#attempt = steady || retryIn ? 0 : this.#attempt + 1;
    const wait = retryIn
      ? Math.min(Number(retryIn), LONGEST_S) * 1000
      : Math.max(backoff(this.#attempt), code === TOO_MANY ? TOO_MANY_MS : 0);
    const again = () => {
      if (!this.#wanted) return;
      this.#retry = setTimeout(() => this.#connect(), wait);
    };
    this.events.down(this.#failures);
    if (code === TOKEN_REFUSED) this.events.refused().then(again, again);
    else again();
  }
}
