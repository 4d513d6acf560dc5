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

/** Something that reads as an address of its own: with a scheme, or a name with a dot and no space. */
const ADDRESS = /^\s*(?:\w+:\/\/\S+|[^\s/@]+\.[a-z]{2,}(?:[/:?#]\S*)?)\s*$/i;

/**
 * Whether a link may be taken for another: its words are an address elsewhere, it puts a name before the host
 * (`https://bank.example@evil.test`), or its host is written in letters that look like others.
 */
export const disguised = (url: URL, words: string): boolean =>
  url.username !== "" ||
  /(^|\.)xn--/.test(url.host) ||
  (ADDRESS.test(words) && !words.includes(whereTo(url)));
