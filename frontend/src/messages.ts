// All that the host page (the loader) and the panel (the iframe) say to each other, and the one place where either side
// decides whether to believe a message: it must come from the right window AND the right origin. Messages are posted to
// a named origin only.
import type { ChatWidgetEvents } from "./chatwidget";
import type { ToPreview } from "./preview/draft";

/** Where the visitor is on the host's site. */
export interface Page {
  url: string;
  title: string;
  referrer: string;
}

/** The script tag's `data-` attributes, as far as the panel needs them; each may be missing. */
export interface Look {
  color?: string | undefined;
  theme?: string | undefined;
  locale?: string | undefined;
  /** Where the panel is part of the page. It is then always seen. */
  target?: string | undefined;
}

/** What a site may have the panel do. */
export interface Commands {
  send: string;
  prefill: string;
  newConversation: undefined;
  identify: string;
  reset: undefined;
  setContext: Partial<Page>;
  setLocale: string;
  setTheme: string;
}

type Named<Values> = { [Name in keyof Values]: { type: Name; value: Values[Name] } }[keyof Values];

export type Command = Named<Commands>;

/** Each carries where the visitor is now. */
export type ToPanel = { page: Page } & (
  | Command
  /** The first one after the iframe has loaded: its origin becomes the only one the panel listens to. Again later, when
   * the looks change. */
  | { type: "hello"; value: Look }
  /** The panel is now seen, and should take the focus. */
  | { type: "open" }
  /** The panel is now hidden. */
  | { type: "close" }
  /** The visitor is somewhere else, or the site says more of where they are. */
  | { type: "page" }
);

export type ToPage =
  /** Answer to `hello`: the panel is drawn. */
  | { type: "ready" }
  /** The visitor pressed the panel's close button; or Escape, and nothing in the panel was there to be closed by it. */
  | { type: "close" }
  /** What the site may hear of. */
  | Report;

export type Report = {
  [Name in Exclude<keyof ChatWidgetEvents, "ready" | "open" | "close">]: {
    type: Name;
    detail: ChatWidgetEvents[Name];
  };
}[Exclude<keyof ChatWidgetEvents, "ready" | "open" | "close">];

/** `ToPreview` is said by a widget's page in the admin, in the same discipline. */
type Anything = ToPanel | ToPage | ToPreview;

const VERSION = 1;

export function post(to: Window, origin: string, message: Anything): void {
  to.postMessage({ chatwidget: VERSION, ...message }, origin);
}

/**
 * The message in `event`, or null when it is not ours. `origin` null accepts any: only for the panel's first `hello`,
 * whose sender the browser has already held to the widget's allowed origins (`frame-ancestors`).
 */
export function receive<T extends Anything>(
  event: MessageEvent,
  source: unknown,
  origin: string | null,
): T | null {
  const data = event.data;
  const ours =
    event.source === source && (origin === null || event.origin === origin) && data?.chatwidget === VERSION;
  return ours ? (data as T) : null;
}
