// An esbuild plugin that takes `Lexer` from marked and leaves the rest.
//
// marked comes as one file that no bundler can shake, and we need its lexer only. The source map beside that file holds
// the modules it was made of: bundling those leaves out parser, renderer and hooks. What only serves options that we do
// not set goes too. Together that is a quarter of marked; tests/lexer.test.ts holds the rest to the whole one.
import { readFileSync } from "node:fs";

const LIB = new URL("node_modules/marked/lib/", import.meta.url);
const UNSET = [
  [/this\.options\.pedantic/g, "false"],
  [/this\.options\.extensions/g, "undefined"],
  [/this\.options\.silent/g, "false"],
  [/this\.options\.gfm/g, "true"],
  [/const (block|inline)Pedantic[^=]*= \{.*?\n\};|\n {2}pedantic: \w+,/gs, ""],
];
const namespace = "marked-source";

function modules() {
  const { sources, sourcesContent } = JSON.parse(readFileSync(new URL("marked.esm.js.map", LIB), "utf8"));
  const fold = (source) => UNSET.reduce((code, [what, by]) => code.replace(what, by), source);
  return new Map(sources.map((path, i) => [path.replace("../src/", ""), fold(sourcesContent[i])]));
}

export const lexerOnly = {
  name: "lexer-only",
  setup({ onResolve, onLoad }) {
    const sources = modules();
    sources.set("entry", 'export { _Lexer as Lexer } from "./Lexer.ts";');
    onResolve({ filter: /^marked$/ }, () => ({ path: "entry", namespace }));
    onResolve({ filter: /./, namespace }, ({ path }) => ({ path: path.replace("./", ""), namespace }));
    onLoad({ filter: /./, namespace }, ({ path }) => ({ contents: sources.get(path), loader: "ts" }));
  },
};
