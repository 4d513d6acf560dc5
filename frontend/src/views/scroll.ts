// Scrolling of the log. `scrollIntoView` would also scroll what is around it, up to the host page.

/** Room left between what is brought into view and the edge. */
const MARGIN_PX = 12;

export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

export function scrollLog(log: HTMLElement, top: number, smooth = true): void {
  log.scrollTo({ top, behavior: smooth && !calm() ? "smooth" : "instant" });
}

/** Puts the top of `element` at the top of the log. */
export function toTop(log: HTMLElement, element: HTMLElement, smooth = true): void {
  const top = log.scrollTop + element.getBoundingClientRect().top - log.getBoundingClientRect().top;
  scrollLog(log, top - MARGIN_PX, smooth);
}

/** Scrolls down just as far as `element` needs to be seen. */
export function reveal(element: HTMLElement | null): void {
  const log = element?.closest<HTMLElement>(".log");
  if (!element || !log) return;
  const hidden = element.getBoundingClientRect().bottom + MARGIN_PX - log.getBoundingClientRect().bottom;
  if (hidden > 0) scrollLog(log, log.scrollTop + hidden);
}

/** Moves the focus to the log: for buttons that go away when they are pressed. */
export const focusLog = (button: HTMLElement) =>
  button.closest<HTMLElement>(".log")?.focus({ preventScroll: true });
