// The panel's end of the line to the page that embeds it.
import { type Command, type Look, type Page, post, receive, type ToPage, type ToPanel } from "./messages";

export interface HostEvents {
  hello(look: Look): void;
  open(): void;
  close(): void;
}

export class Host {
  /** What the site says of where the visitor is, in place of what its page's address says. */
  context: Partial<Page> = {};
  /** Our own address tells nothing of where the visitor is. */
  #page: Page = { url: document.referrer, title: "", referrer: "" };
  /** The first `hello` names it; from then on nobody else is listened to, nor told anything. */
  #origin: string | null = null;
  /** What is to be told once there is somebody to tell. */
  #untold: ToPage[] = [];
  /** What the site asks for waits here until page.ts is there to do it. */
  #asked: Command[] = [];
  #obey = (command: Command): void => void this.#asked.push(command);

  constructor(events: HostEvents) {
    addEventListener("message", (event) => {
      const message = receive<ToPanel>(event, window.parent, this.#origin);
      // Only `hello` may introduce a page.
      if (!message || (this.#origin === null && message.type !== "hello")) return;
      this.#page = message.page;
      if (message.type === "hello") {
        this.#origin = event.origin;
        events.hello(message.value);
        for (const one of [{ type: "ready" } as const, ...this.#untold.splice(0)]) this.tell(one);
      } else if (message.type === "open" || message.type === "close") events[message.type]();
      else if (message.type !== "page") this.#obey(message);
    });
  }

  get page(): Page {
    return { ...this.#page, ...this.context };
  }

  tell(message: ToPage): void {
    if (this.#origin === null) this.#untold.push(message);
    else post(window.parent, this.#origin, message);
  }

  /** Has `obey` do what the site asks for, and what it asked for before. */
  serve(obey: (command: Command) => void): void {
    this.#obey = obey;
    for (const command of this.#asked) obey(command);
  }
}
