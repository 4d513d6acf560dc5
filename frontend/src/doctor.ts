// On the page that the loader shows when the panel does not answer: finds out why, for those who run the site. Nobody
// is kept from framing this page, so it tells nothing but whether the one around it may show the widget.
import { post, receive, type ToPanel } from "./messages";

/** Why the panel may not be shown by `site`, and what to change. */
async function diagnose(site: string): Promise<{ code: string; message: string }> {
  const panel = new URL("../", location.href);
  const answer = await fetch(panel, { cache: "no-store" });
  if (answer.status === 404) {
    return {
      code: "widget_not_found",
      message: `no widget has the key in ${panel}: copy the script tag from the admin again`,
    };
  }
  const framers = /frame-ancestors ([^;]*)/.exec(answer.headers.get("Content-Security-Policy") ?? "")?.[1];
  const allowed = framers?.split(" ") ?? [];
  // The browser asks all of them, where a page is in a page.
  const around = [site, ...(location.ancestorOrigins ?? [])];
  const stranger = around.find((origin) => origin !== location.origin && !allowed.includes(origin));
  return stranger
    ? { code: "origin_not_allowed", message: `add ${stranger} to the widget's sites in the admin` }
    : { code: "panel_silent", message: `${panel} may be shown here, but did not start; try again` };
}

addEventListener("message", async (event) => {
  const message = receive<ToPanel>(event, window.parent, null);
  if (message?.type !== "hello") return;
  const button = document.querySelector("button")!;
  // On a phone nothing else is left of the page. What is a part of it stays.
  button.hidden = !!message.value.target;
  button.onclick = () => post(window.parent, event.origin, { type: "close" });
  const detail = await diagnose(event.origin);
  console.error(`[chatwidget] ${detail.code}: ${detail.message}`);
  post(window.parent, event.origin, { type: "error", detail });
});
