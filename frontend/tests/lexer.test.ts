import { build } from "esbuild";
import { Lexer } from "marked";
import { beforeAll, expect, test } from "vitest";
// @ts-expect-error: part of the build, which is plain JavaScript
import { lexerOnly } from "../lexer-only.mjs";
import { CONSTRUCTS, HOSTILE } from "./corpus";

let Built: typeof Lexer;

beforeAll(async () => {
  const result = await build({
    stdin: { contents: 'export { Lexer } from "marked";' },
    bundle: true,
    format: "esm",
    minify: true,
    write: false,
    plugins: [lexerOnly],
  });
  const code = Buffer.from(result.outputFiles[0]!.contents).toString("base64");
  Built = (await import(/* @vite-ignore */ `data:text/javascript;base64,${code}`)).Lexer;
  // Small enough to show that parser, renderer and hooks are gone.
  expect(result.outputFiles[0]!.contents.length).toBeLessThan(38_000);
});

test("the lexer we ship reads everything as the whole of marked does", () => {
  for (const text of [...Object.values(CONSTRUCTS).map(([source]) => source), ...HOSTILE]) {
    for (const breaks of [true, false]) {
      const options = { gfm: true, breaks };
      expect(new Built(options).lex(text)).toEqual(new Lexer(options).lex(text));
    }
  }
});
