// All that the host page (the loader) and the panel (the iframe) say to each other, and the one place where either side
// decides whether to believe a message: it must come from the right window AND the right origin. Messages are posted to
// a named origin only.

/** Where the visitor is on the host's site. */
export interface Page {
  url: string;
  title: string;
  referrer: string;
}

/** What the script tag says about looks; each may be missing. */
export interface Look {
  color?: string | undefined;
  position?: string | undefined;
  theme?: string | undefined;
  locale?: string | undefined;
  label?: string | undefined;
}

export type ToPanel =
  /** First message after the iframe has loaded. Its origin becomes the only one the panel listens to. */
  | ({ type: "hello"; page: Page } & Look)
  /** The panel is now seen, and should take the focus. */
  | { type: "open"; page: Page }
  /** The panel is now hidden. */
  | { type: "close" };

export type ToPage =
  /** Answer to `hello`: the panel is drawn. */
  | { type: "ready" }
  /** The visitor pressed the panel's close button. */
  | { type: "close" }
  /** The visitor pressed Escape, and nothing in the panel was there to be closed by it. */
  | { type: "escape" }
  /** Messages that the visitor has not seen yet. */
  | { type: "unread"; count: number };

const VERSION = 1;

export function post(to: Window, origin: string, message: ToPanel | ToPage): void {
  to.postMessage({ chatwidget: VERSION, ...message }, origin);
}

/**
 * The message in `event`, or null when it is not ours. `origin` null accepts any: only for the panel's first `hello`,
 * whose sender the browser has already held to the widget's allowed origins (`frame-ancestors`).
 */
export function receive<T extends ToPanel | ToPage>(
  event: MessageEvent,
  source: unknown,
  origin: string | null,
): T | null {
  const data = event.data;
  const ours =
    event.source === source && (origin === null || event.origin === origin) && data?.chatwidget === VERSION;
  return ours ? (data as T) : null;
}
