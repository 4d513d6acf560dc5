// What comes later (later.ts), if it is here. Half of all the code there is, above all marked's lexer, is a file of its
// own that is fetched once the panel can be used. Until then, and wherever the lexer fails, `lex` says null and a text
// is shown as it was written: at once and whole, whatever became of the file.
import type { Token } from "marked";
import { backoff } from "./backoff";

export type Later = typeof import("./later");

let file: Later | null = null;

/** The file; null while it is not here. */
export const later = () => file;

/** The tokens of `text`; null while there is no lexer, or if it cannot cope. `breaks`: a line break is one. */
export function lex(text: string, breaks: boolean): Token[] | null {
  try {
    return file && new file.Lexer({ gfm: true, breaks }).lex(text);
  } catch {
    return null;
  }
}

/** Fetches the file by `load`, however often it takes. A failed attempt must not be remembered: its number tells. */
export async function fetchLater(load: (attempt: number) => Promise<Later>): Promise<void> {
  for (let attempt = 0; !file; attempt += 1) {
    try {
      file = await load(attempt);
    } catch {
      await new Promise<void>((again) => {
        setTimeout(again, backoff(attempt));
        addEventListener("online", () => again(), { once: true });
      });
    }
  }
}

/** For tests: as if the panel had just been opened. */
export function forgetLater(): void {
  file = null;
}
