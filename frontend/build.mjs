// Builds the launcher, the panel and the admin's preview of it into ../static/chatwidget/, compresses them for the
// server to send as they are, and holds the first two to the size that the project promises: what a page loads before the
// visitor's first interest, and all that is loaded until the visitor can type. What comes after that (src/later.ts) is a
// file of its own.
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { build, transform } from "esbuild";
import { minify } from "terser";
import { lexerOnly } from "./lexer-only.mjs";

const LOADER_LIMIT = 3_000; // bytes, gzipped
const PANEL_LIMIT = 30_000; // bytes, gzipped: page, script and style, in any language
const PAGE_ALLOWANCE = 800; // the iframe's page with its settings, rendered by the server: 690 as an admin starts
const CATALOGUE_LIMIT = 2_500; // bytes, gzipped: the words that the page brings, if not in English

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const out = at("../static/chatwidget/");
const PANEL = ["panel.js", "panel.css"];

/** A style that travels inside its script, as text, minified: it needs no request, and no word in a host page's policy. */
const styleAsText = {
  name: "style-as-text",
  setup({ onLoad }) {
    onLoad({ filter: /\.css$/ }, async ({ path }) => {
      const { code } = await transform(readFileSync(path, "utf8"), { loader: "css", minify: true });
      return { contents: code.trim(), loader: "text" };
    });
  },
};

/** A second minifier over the first one's work: another 3 percent. */
async function squeeze({ outputFiles }) {
  const options = { ecma: 2020, compress: { passes: 3 }, format: { ascii_only: true } };
  return (await minify(outputFiles[0].text, options)).code;
}

const common = {
  bundle: true,
  minify: true,
  legalComments: "none", // the licences are in LICENSES.txt beside the scripts
  logLevel: "warning",
  tsconfigRaw: {}, // ours is for checking only
  write: false,
};
const later = await build({
  ...common,
  entryPoints: [at("src/later.ts")],
  format: "esm",
  target: "es2022",
  plugins: [lexerOnly, styleAsText],
}).then(squeeze);
// Its name carries its hash, as collected files do: a panel gets the one it was built with, and may keep it for good.
const LATER = `later.${createHash("sha256").update(later).digest("hex").slice(0, 12)}.js`;

const views = {
  jsx: "transform",
  jsxFactory: "h",
  jsxFragment: "Fragment",
  inject: [at("src/jsx.ts")],
};
const [loader, panel, doctor, preview, previewPanel, style] = await Promise.all([
  build({
    ...common,
    entryPoints: [at("src/loader.ts")],
    format: "iife",
    target: "es2020",
    plugins: [styleAsText],
  }).then(squeeze),
  build({
    ...common,
    entryPoints: [at("src/panel.tsx")],
    format: "iife",
    external: ["./later.*"],
    define: { LATER: JSON.stringify(`./${LATER}`) },
    ...views,
    target: "es2022",
  }).then(squeeze),
  build({ ...common, entryPoints: [at("src/doctor.ts")], format: "iife", target: "es2022" }).then(squeeze),
  // For operators only, so these two have no limit: the page in the admin, and the panel in it.
  build({
    ...common,
    entryPoints: [at("src/preview/page.ts")],
    format: "iife",
    target: "es2022",
    plugins: [styleAsText],
  }).then(squeeze),
  build({
    ...common,
    entryPoints: [at("src/preview/panel.tsx")],
    format: "iife",
    ...views,
    target: "es2022",
    plugins: [lexerOnly, styleAsText],
  }).then(squeeze),
  build({
    ...common,
    entryPoints: [at("src/panel.css")],
    target: ["chrome111", "firefox113", "safari16.4"],
  }).then(({ outputFiles }) => outputFiles[0].text),
]);

mkdirSync(out, { recursive: true });
const sizes = {};
const built = {
  "widget.js": loader,
  "panel.js": panel,
  "panel.css": style,
  "doctor.js": doctor,
  "preview.js": preview,
  "preview-panel.js": previewPanel,
  [LATER]: later,
};
for (const [name, text] of Object.entries(built)) {
  const contents = Buffer.from(text);
  const gz = gzipSync(contents, { level: 9 });
  const br = brotliCompressSync(contents, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } });
  writeFileSync(out + name, contents);
  writeFileSync(`${out}${name}.gz`, gz);
  writeFileSync(`${out}${name}.br`, br);
  sizes[name] = gz.length;
  console.log(`${name.padEnd(21)} ${contents.length} bytes, ${gz.length} gzip, ${br.length} brotli`);
}
for (const name of readdirSync(out)) {
  if (/^later\./.test(name) && !name.startsWith(LATER)) rmSync(out + name);
}
copyFileSync(at("src/chatwidget.d.ts"), `${out}widget.d.ts`);
const licence = (name) => `${name}\n\n${readFileSync(at(`node_modules/${name}/LICENSE`), "utf8").trim()}\n`;
writeFileSync(`${out}LICENSES.txt`, ["preact", "marked"].map(licence).join("\n\n"));

const catalogues = at("../chatwidget/catalogues/");
const languages = readdirSync(catalogues).map((name) => {
  const words = JSON.stringify(JSON.parse(readFileSync(catalogues + name, "utf8")));
  return { tag: name.replace(".json", ""), size: gzipSync(words, { level: 9 }).length };
});
const largest = Math.max(...languages.map(({ size }) => size), 0);
console.log(`languages, gzip: ${languages.map(({ tag, size }) => `${tag} ${size}`).join(", ")}`);

const total = PANEL.reduce((sum, name) => sum + sizes[name], PAGE_ALLOWANCE);
console.log(
  `until usable: ${total} bytes gzip in English, at most ${total + largest} of ${PANEL_LIMIT} in others`,
);
if (sizes["widget.js"] > LOADER_LIMIT || total + largest > PANEL_LIMIT || largest > CATALOGUE_LIMIT) {
  console.error(
    `Too big: widget.js may have ${LOADER_LIMIT} bytes, the panel ${PANEL_LIMIT}, a language ${CATALOGUE_LIMIT}.`,
  );
  process.exitCode = 1;
}
