// Another language than the one the panel's page came with: for sites that switch while it is open (`setLocale`). Comes
// with later.ts. Which languages there are, and which of them serves for `locale`, the service knows.
import type { Catalogue } from "./text";

interface Language {
  tag: string;
  direction: string;
  words: Catalogue;
}

let last = "";

/** Its words, once the page is said to be in it; null where they cannot be had or another one was wanted since. */
export async function learn(locale: string): Promise<Catalogue | null> {
  last = locale;
  try {
    const answer = await fetch(new URL(`words/?locale=${encodeURIComponent(locale)}`, location.href));
    const { tag, direction, words }: Language = await answer.json();
    if (last !== locale) return null;
    document.documentElement.lang = tag;
    document.documentElement.dir = direction;
    return words;
  } catch {
    return null;
  }
}
