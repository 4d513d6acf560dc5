// @vitest-environment happy-dom
import fc from "fast-check";
import { render } from "preact";
import { afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { fetchLater, forgetLater, type Later } from "../src/fetched";
import { safeUrl } from "../src/links";
import { Growing, Markdown, plainText } from "../src/markdown";
import { CONSTRUCTS, HOSTILE } from "./corpus";

const root = document.createElement("div");
document.body.append(root);
beforeAll(() => fetchLater(() => import("../src/later")));
afterEach(() => render(null, root));

function draw(text: string, finished = true): HTMLElement {
  render(<Markdown text={text} finished={finished} />, root);
  return root;
}

/** The elements and words alone, as HTML; what only serves looks and focus is left out. */
function bare(node: Node): string {
  if (node.nodeType === Node.TEXT_NODE) return node.textContent!;
  const element = node as HTMLElement;
  const name = element.localName;
  // A link's words; where it leads is said after them.
  const parts = name === "a" ? [element.firstChild!] : [...element.childNodes];
  const inner = parts.map(bare).join("");
  if (name === "button" || name === "svg" || element.className === "code-bar") return "";
  if (name === "div" || (name === "span" && !element.className)) return inner;
  const kept = ["href", "scope", "role", "aria-label"].concat(
    element.getAttribute("start") === "1" ? [] : ["start"],
  );
  const attributes =
    name === "pre"
      ? ""
      : kept
          .filter((key) => element.hasAttribute(key))
          .map((key) => ` ${key}="${element.getAttribute(key)}"`)
          .join("");
  return `<${name}${attributes}>${["br", "hr"].includes(name) ? "" : `${inner}</${name}>`}`;
}

describe("common constructs", () => {
  test.each(Object.entries(CONSTRUCTS))("%s", (_name, [source, html]) => {
    expect(bare(draw(source))).toBe(html);
  });

  test("columns keep their alignment", () => {
    draw("| a | b |\n| :-: | -: |\n| 1 | 2 |");
    expect([...root.querySelectorAll("td")].map((cell) => cell.className)).toEqual(["center", "right"]);
  });

  test("code and tables can be scrolled by keyboard, and have a name", () => {
    draw("```sh\nls\n```\n\n| a |\n| - |\n| 1 |");
    for (const part of root.querySelectorAll("pre, .table")) {
      expect(part.getAttribute("tabindex")).toBe("0");
      expect(part.getAttribute("aria-label")).toBeTruthy();
    }
  });
});

const ALLOWED = new Set(
  "a,blockquote,br,button,code,del,div,em,h3,h4,h5,h6,hr,li,ol,p,path,pre,rect,small,span,strong,svg,table,tbody,td,th,thead,tr,ul".split(
    ",",
  ),
);

/** What a hostile answer must not leave behind, whatever it wrote. */
function inspect(): void {
  for (const element of root.querySelectorAll("*")) {
    expect(ALLOWED).toContain(element.localName);
    for (const { name } of [...element.attributes]) {
      expect(name).not.toMatch(/^on|^src|style|srcdoc|formaction/);
    }
    if (element.localName !== "a") {
      expect(element.hasAttribute("href")).toBe(false);
      continue;
    }
    const href = element.getAttribute("href")!;
    expect(["http:", "https:", "mailto:"]).toContain(new URL(href).protocol);
    expect(element.getAttribute("rel")).toBe("noopener noreferrer nofollow");
    expect(element.getAttribute("target")).toBe("_blank");
  }
}

describe("hostile answers", () => {
  test("there are enough of them", () => expect(HOSTILE.length).toBeGreaterThanOrEqual(150));

  test.each(HOSTILE)("%j, whole", (text) => {
    draw(text);
    inspect();
  });

  test("character by character, no frame leaves anything unsafe", () => {
    for (const text of HOSTILE) {
      for (let end = 1; end <= text.length; end += 1) {
        draw(text.slice(0, end), end === text.length);
        inspect();
      }
      render(null, root);
    }
  }, 120_000);

  test("what is not drawn as an element is there to be read", () => {
    draw("<script>alert(1)</script>");
    expect(root.textContent).toContain("<script>alert(1)</script>");
  });
});

test.each([
  ["[the docs](https://docs.test/a)", "docs.test", false],
  ["[docs.test/a](https://docs.test/a)", undefined, false],
  ["https://docs.test/a", undefined, false],
  ["[us](mailto:hi@docs.test)", "hi@docs.test", false],
  ["![cat](https://docs.test/cat.png)", "docs.test", false],
  ["[https://bank.test](https://evil.test)", "leads to evil.test", true],
  ["[bank.test](https://evil.test)", "leads to evil.test", true],
  ["<https://bank.test@evil.test/>", "leads to evil.test", true],
  ["[bank](https://b\u0430nk.test)", "leads to xn--bnk-6cd.test", true],
])("%s says where it leads", (source, where, odd) => {
  draw(source);
  expect(root.querySelector("a small")?.textContent).toBe(where);
  expect(root.querySelector("a .odd") !== null).toBe(odd);
});

test.each([
  "javascript:alert(1)",
  " javascript:alert(1)",
  "java\tscript:alert(1)",
  "data:text/html,x",
  "vbscript:x",
  "file:///etc/passwd",
  "/relative",
  "//host/x",
  "",
])("%j is no address to link to", (href) => expect(safeUrl(href)).toBe(null));

describe("a growing text", () => {
  const everything = Object.values(CONSTRUCTS)
    .map(([source]) => source)
    .filter((source) => !source.startsWith("[a][1]"));

  test("drawn piece by piece ends as the whole", () => {
    const long = `${everything.slice(0, 16).join("\n\n")}\n\n${everything.slice(16).join("\n\n")}`;
    const whole = bare(draw(long));
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 5, maxLength: 40 }), (sizes) => {
        render(null, root);
        let end = 0;
        for (const size of sizes) {
          end += size;
          draw(long.slice(0, end), false);
        }
        return bare(draw(long)) === whole;
      }),
      { numRuns: 20 },
    );
  });

  test("keeps the elements of what is closed, so that a selection in them stays", () => {
    draw("First.\n\n- a\n- b\n\nLa", false);
    const parts = () =>
      [...root.querySelectorAll("p:first-child, ul, li")].flatMap((part) => [part, part.firstChild]);
    const before = parts();
    for (const end of ["Last.\n\n```\ncode", "Last.\n\n```\ncode\n```"]) {
      draw(`First.\n\n- a\n- b\n\n${end}`, end.endsWith("```"));
      const now = parts();
      expect(before.every((part, i) => part === now[i])).toBe(true);
    }
  });

  test("is not read again where it is closed", () => {
    const growing = new Growing();
    const [first] = growing.draw("First.\n\nLa", false);
    expect(growing.draw("First.\n\nLa", false)[0]).toBe(first);
    expect(growing.draw("First.\n\nLast.\n\nNo, this", false)[0]).toBe(first);
  });

  test("can be rewritten by its agent", () => {
    draw("One.\n\nTwo.\n\nThree", false);
    expect(bare(draw("One.\n\nOther.", false))).toBe("<p>One.</p><p>Other.</p>");
  });

  test("finds its link definitions at the end", () => {
    draw("see [a][1]\n\nmore", false);
    expect(bare(draw("see [a][1]\n\nmore\n\n[1]: https://x.test/", true))).toBe(
      '<p>see <a href="https://x.test/">a</a></p><p>more</p>',
    );
  });
});

test("a screen reader gets words, not marks", () => {
  expect(plainText("## Hi *you*\n\n- a\n- `b`\n\n[site](https://x.test)")).toBe("Hi you\n\na\nb\n\nsite");
});

describe("without what comes later", () => {
  afterEach(() => {
    vi.useRealTimers();
    return fetchLater(() => import("../src/later"));
  });

  test("a text is shown as it was written, whole and in paragraphs, and read once the lexer is here", async () => {
    forgetLater();
    expect(bare(draw("Some **bold**\nwords.\n\n- one", false))).toBe(
      "<p>Some **bold**\nwords.</p><p>- one</p>",
    );
    expect(plainText("**b**")).toBe("**b**");
    await fetchLater(() => import("../src/later"));
    expect(bare(draw("Some **bold**\nwords.\n\n- one", false))).toBe(
      "<p>Some <strong>bold</strong>\nwords.</p><ul><li>one</li></ul>",
    );
  });

  test("it is asked for until it comes, each time as something new", async () => {
    forgetLater();
    vi.useFakeTimers();
    const load = vi.fn(async (attempt: number) => {
      if (attempt < 3) throw new TypeError("Failed to fetch");
      return import("../src/later");
    });
    const loaded = fetchLater(load);
    await vi.advanceTimersByTimeAsync(10_000);
    await loaded;
    expect(load.mock.calls.map(([attempt]) => attempt)).toEqual([0, 1, 2, 3]);
    expect(bare(draw("*a*"))).toBe("<p><em>a</em></p>");
  });

  test("one that cannot cope with a text leaves it as it was written", async () => {
    forgetLater();
    class Broken {
      lex() {
        throw new Error("Infinite loop");
      }
    }
    await fetchLater(async () => ({ Lexer: Broken }) as unknown as Later);
    expect(bare(draw("*a*"))).toBe("<p>*a*</p>");
    forgetLater();
  });
});
