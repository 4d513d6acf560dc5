// Reads Markdown into tokens, with marked's lexer. That is a third of all the code there is and nobody needs it to
// type, so it is a file of its own that comes once the panel can be used. Until then, and wherever it fails, `lex` says
// null and the text is shown as it was written: at once and whole, whatever became of the file.
import type { Lexer, Token } from "marked";
import { backoff } from "./backoff";

export type LexerFile = { Lexer: typeof Lexer };

let file: LexerFile | null = null;

/** The tokens of `text`; null while there is no lexer, or if it cannot cope. `breaks`: a line break is one. */
export function lex(text: string, breaks: boolean): Token[] | null {
  try {
    return file && new file.Lexer({ gfm: true, breaks }).lex(text);
  } catch {
    return null;
  }
}

/** Loads the lexer by `load`, however often it takes. A failed attempt must not be remembered: its number tells. */
export async function loadLexer(load: (attempt: number) => Promise<LexerFile>): Promise<void> {
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

/** Whether the lexer is here, for whoever keeps what was drawn without it. */
export const hasLexer = () => file !== null;

/** For tests: as if the panel had just been opened. */
export function forgetLexer(): void {
  file = null;
}
