// Markdown to Preact nodes. No HTML string exists at any point, so there is nothing to sanitise: a token becomes one of
// the elements below or it becomes text.
import type { Token, Tokens } from "marked";
import type { ComponentChildren, VNode } from "preact";
import { useMemo } from "preact/hooks";
import { later, lex } from "./fetched";
import { useText } from "./views/context";
import { CopyButton } from "./views/copy";
import { Icon } from "./views/icons";
import { Link } from "./views/link";

/** Answers have their headings below the panel's own (h1, h2), and skip no level whatever the agent does. */
const TOP_HEADING = 3;

interface Headings {
  /** Depth of the answer's first heading, shown as `TOP_HEADING`. */
  base: number;
  /** Level of the last one shown. */
  last: number;
}

const ENTITIES: Record<string, string> = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  apos: "'",
  nbsp: "\u00a0",
  copy: "©",
  reg: "®",
  trade: "™",
  hellip: "…",
  mdash: "—",
  ndash: "–",
  bull: "•",
  middot: "·",
  rarr: "→",
  larr: "←",
  times: "×",
  deg: "°",
  euro: "€",
};

/** The lexer leaves character references in text; elsewhere a browser's HTML parser would decode them. */
function decode(text: string): string {
  return text.replace(/&(?:#(\d{1,7})|#x([\da-f]{1,6})|(\w{2,6}));/gi, (whole, decimal, hex, name) => {
    if (name) return Object.hasOwn(ENTITIES, name) ? ENTITIES[name]! : whole;
    const code = decimal ? Number(decimal) : Number.parseInt(hex, 16);
    return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });
}

/** An image would tell its host who reads what, and when: it is shown as a link that says where it leads. */
function ImageLink({ token }: { token: Tokens.Image }) {
  const text = useText();
  const name = decode(token.text) || text("image");
  return (
    <Link href={decode(token.href)} words={name}>
      {name}
    </Link>
  );
}

function TaskBox({ checked }: { checked: boolean }) {
  const text = useText();
  return (
    <span class={checked ? "task done" : "task"} role="img" aria-label={text(checked ? "done" : "to_do")}>
      {checked && <Icon name="check" />}
    </span>
  );
}

function CodeBlock({ code, language }: { code: string; language: string }) {
  const text = useText();
  return (
    <div class="code">
      <div class="code-bar">
        <span>{language || text("code")}</span>
        <CopyButton value={code} label={text("copy")} />
      </div>
      {/* Scrolls sideways, so the keyboard must be able to reach it. */}
      <pre dir="ltr" tabIndex={0} role="group" aria-label={language || text("code")}>
        <code>{code}</code>
      </pre>
    </div>
  );
}

function Table({ token }: { token: Tokens.Table }) {
  const text = useText();
  const cell = (Tag: "th" | "td", { tokens, align }: Tokens.TableCell, key: number) => (
    <Tag key={key} class={align ?? ""} {...(Tag === "th" ? { scope: "col" } : {})}>
      {inline(tokens)}
    </Tag>
  );
  return (
    <div class="table" tabIndex={0} role="group" aria-label={text("table")}>
      <table>
        <thead>
          <tr>{token.header.map((each, i) => cell("th", each, i))}</tr>
        </thead>
        <tbody>
          {token.rows.map((row, i) => (
            <tr key={i}>{row.map((each, j) => cell("td", each, j))}</tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function List({ token, headings }: { token: Tokens.List; headings: Headings }) {
  const items = token.items.map((item, i) => (
    <li key={i} class={item.task ? "task-item" : ""}>
      {item.tokens.map((each, j) => draw(each, j, headings))}
    </li>
  ));
  return token.ordered ? <ol start={Number(token.start) || 1}>{items}</ol> : <ul>{items}</ul>;
}

function heading({ depth, tokens }: Tokens.Heading, key: number, headings: Headings): VNode {
  headings.base ||= depth;
  const level = Math.min(Math.max(TOP_HEADING + depth - headings.base, TOP_HEADING), headings.last + 1, 6);
  headings.last = level;
  const Tag = `h${level}` as "h3";
  return <Tag key={key}>{inline(tokens)}</Tag>;
}

const inline = (tokens: Token[] | undefined): ComponentChildren =>
  tokens?.map((token, i) => draw(token, i, { base: 1, last: TOP_HEADING }));

/** One token as a node. Whatever is not listed here is text. */
function draw(token: Token, key: number, headings: Headings): ComponentChildren {
  switch (token.type) {
    case "space":
    case "def":
      return null;
    case "paragraph":
      return <p key={key}>{inline(token.tokens)}</p>;
    case "heading":
      return heading(token as Tokens.Heading, key, headings);
    case "code":
      return <CodeBlock key={key} code={token.text} language={/^\S*/.exec(token.lang ?? "")![0]} />;
    case "blockquote":
      return <blockquote key={key}>{token.tokens?.map((each, i) => draw(each, i, headings))}</blockquote>;
    case "list":
      return <List key={key} token={token as Tokens.List} headings={headings} />;
    case "table":
      return <Table key={key} token={token as Tokens.Table} />;
    case "hr":
      return <hr key={key} />;
    case "strong":
      return <strong key={key}>{inline(token.tokens)}</strong>;
    case "em":
      return <em key={key}>{inline(token.tokens)}</em>;
    case "del":
      return <del key={key}>{inline(token.tokens)}</del>;
    case "codespan":
      return <code key={key}>{token.text}</code>;
    case "br":
      return <br key={key} />;
    case "link":
      return (
        <Link key={key} href={decode(token.href)} words={words(token.tokens ?? [])}>
          {inline(token.tokens)}
        </Link>
      );
    case "image":
      return <ImageLink key={key} token={token as Tokens.Image} />;
    case "checkbox":
      return <TaskBox key={key} checked={token.checked} />;
    case "text":
      return token.tokens ? inline(token.tokens) : decode(token.text);
    case "html":
      // Agents break lines in table cells this way. Everything else is shown as it was written.
      return /^<br\s*\/?>$/i.test(token.raw.trim()) ? <br key={key} /> : token.raw;
    default:
      return "text" in token ? token.text : token.raw;
  }
}

/** Text that cannot be read as Markdown (yet): its words, where its paragraphs will be. */
const plain = (text: string) =>
  text.split(/\n{2,}/).map((part, i) => (
    <p key={`plain-${i}`} class="plain">
      {part}
    </p>
  ));

/** A link definition changes what was written before it, so a finished text that has one is read again as a whole. */
const DEFINITION = /^ {0,3}\[[^\]]+\]:/m;

/**
 * A text that grows. All blocks but the last are closed: nothing that follows can change them, so they are kept as
 * they were drawn, and Preact leaves their elements (and what the visitor has selected in them) alone. Only the last
 * block is read again when text arrives.
 */
export class Growing {
  #closed = "";
  #nodes: ComponentChildren[] = [];
  #headings: Headings = { base: 0, last: TOP_HEADING - 1 };

  constructor(readonly breaks = false) {}

  draw(source: string, finished: boolean): ComponentChildren[] {
    const text = source.replace(/\r\n?/g, "\n");
    // The agent rewrote what it had said.
    if (!text.startsWith(this.#closed) || (finished && DEFINITION.test(text))) this.#restart();
    const rest = text.slice(this.#closed.length);
    const tokens = lex(rest, this.breaks);
    if (!tokens) return [...this.#nodes, ...plain(rest)];
    let last = tokens.length - 1;
    while (last > 0 && tokens[last]!.type === "space") last -= 1;
    for (const token of tokens.splice(0, Math.max(last, 0))) {
      // The place in the text identifies a block, whichever frame it was closed in.
      this.#nodes = [...this.#nodes, draw(token, this.#closed.length, this.#headings)];
      this.#closed += token.raw;
    }
    const open = { ...this.#headings };
    return [...this.#nodes, ...tokens.map((token, i) => draw(token, this.#closed.length + i, open))];
  }

  #restart(): void {
    this.#closed = "";
    this.#nodes = [];
    this.#headings = { base: 0, last: TOP_HEADING - 1 };
  }
}

interface MarkdownProps {
  text: string;
  finished?: boolean;
  /** Whether a single line break is one: so for people, not for agents. */
  breaks?: boolean;
}

export function Markdown({ text, finished = true, breaks = false }: MarkdownProps) {
  const growing = useMemo(() => new Growing(breaks), [breaks]);
  const nodes = useMemo(() => growing.draw(text, finished), [growing, text, finished, later()]);
  return (
    // What an agent writes may run the other way than the interface does.
    <div class="md" dir="auto">
      {nodes}
    </div>
  );
}

/** The words of `tokens`, without the marks. */
const words = (tokens: Token[]): string =>
  tokens
    .map((token) => {
      const { header, rows, items, tokens } = token as Tokens.Generic;
      if (header)
        return [header, ...rows]
          .map((row) => row.map((cell: Tokens.TableCell) => words(cell.tokens)).join(", "))
          .join("\n");
      if (items) return items.map((item: Tokens.ListItem) => words(item.tokens)).join("\n");
      if (tokens) return words(tokens);
      return decode("text" in token ? token.text : token.type === "checkbox" ? "" : token.raw);
    })
    .join("");

/** What a screen reader should say. */
export function plainText(text: string): string {
  const tokens = lex(text, false);
  return tokens ? words(tokens).trim() : text;
}
