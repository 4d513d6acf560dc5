// Which addresses an answer may link to. What an agent writes is hostile until shown otherwise.

const SCHEMES = ["http:", "https:", "mailto:"];

/** The address as the browser will understand it, or null where it may not be a link. */
export function safeUrl(href: string | null | undefined): URL | null {
  try {
    // Without a base: relative addresses would point into the service, not into the agent's world.
    const url = new URL(href ?? "");
    return SCHEMES.includes(url.protocol) ? url : null;
  } catch {
    return null;
  }
}

/** Where a link leads, in short: its host, or the mail address. */
export const whereTo = (url: URL) => url.host || url.pathname;
