// The panel's end of the line to the page that embeds it.
import { type Look, type Page, post, receive, type ToPage, type ToPanel } from "./messages";

export interface HostEvents {
  hello(look: Look): void;
  open(): void;
  close(): void;
}

export class Host {
  /** Where the visitor is. Our own address tells nothing of that. */
  page: Page = { url: document.referrer, title: "", referrer: "" };
  /** The first `hello` names it; from then on nobody else is listened to, nor told anything. */
  #origin: string | null = null;

  constructor(events: HostEvents) {
    addEventListener("message", (event) => {
      const message = receive<ToPanel>(event, window.parent, this.#origin);
      if (!message) return;
      if (message.type === "hello") {
        this.#origin = event.origin;
        this.page = message.page;
        events.hello(message);
        this.tell({ type: "ready" });
      } else if (this.#origin === null) {
        // Only `hello` may introduce a page.
      } else if (message.type === "open") {
        this.page = message.page;
        events.open();
      } else if (message.type === "close") {
        events.close();
      }
    });
  }

  tell(message: ToPage): void {
    if (this.#origin !== null) post(window.parent, this.#origin, message);
  }
}
