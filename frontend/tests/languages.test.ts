// @vitest-environment happy-dom
// Each catalogue says all that English says, fills in the same values, and leaves nothing in English by oversight.
import { readdirSync, readFileSync } from "node:fs";
import { afterEach, expect, test, vi } from "vitest";
import { learn } from "../src/language";
import { en, type TextKey, texts } from "../src/text";

const CATALOGUES = `${import.meta.dirname}/../../chatwidget/catalogues/`;
const languages = readdirSync(CATALOGUES).map(
  (name) =>
    [name.replace(".json", ""), JSON.parse(readFileSync(CATALOGUES + name, "utf8"))] as [
      string,
      Record<string, string>,
    ],
);
const keys = (Object.keys(en) as TextKey[]).filter((key) => en[key]);

/** In place of a panel. */
const SAID_BY_THE_SERVICE = "unavailable";

/** What is the same word in both. */
const SAME: Record<string, TextKey[]> = {
  de: ["person", "code", "comment_optional"],
  fr: ["conversations", "untitled", "starters", "sources", "code", "image"],
  it: ["person"],
  nl: ["person", "code"],
};

test("there are at least twelve languages beside English, and two of them run from right to left", () => {
  const tags = languages.map(([tag]) => tag);
  expect(tags.length).toBeGreaterThanOrEqual(12);
  expect(tags).toEqual(expect.arrayContaining(["ar", "he"]));
});

test.each(languages)("%s has exactly the names of English, in its order", (_, words) => {
  const names = Object.keys(words).filter((name) => name[0] !== "=");
  expect(names).toEqual([...keys, SAID_BY_THE_SERVICE]);
});

test.each(languages)("%s fills in the values that English fills in", (_, words) => {
  const values = (text: string) => (text.match(/\{\w+\}/g) ?? []).sort();
  for (const key of keys) expect([key, values(words[key]!)]).toEqual([key, values(en[key])]);
});

test.each(languages)("%s leaves nothing in English", (tag, words) => {
  expect(keys.filter((key) => words[key] === en[key])).toEqual(SAME[tag] ?? []);
});

test.each(languages)(
  "%s is written as it should be: no space at the ends, a mark where English has one",
  (_, words) => {
    for (const key of keys) {
      const text = words[key]!;
      expect(text).toBe(text.trim());
      const ends = /[.!?…。！？؟](?:\s*\{\w+\})?$/;
      expect([key, ends.test(text)]).toEqual([key, ends.test(en[key])]);
    }
  },
);

test("a language's words are said, the widget's own win over them, and English fills the gaps", () => {
  const say = texts("de-AT", { send: "Los" }, { send: "Senden", stop: "Anhalten" });
  expect([say("send"), say("stop"), say("close")]).toEqual(["Los", "Anhalten", "Close chat"]);
});

test("what an operator left as it is, is said in the visitor's language, and what they wrote is not touched", () => {
  const words = { "=Chat with us": "Schreiben Sie uns", "=Complete": "Vollständig" };
  const left = texts("de", { title: "Chat with us" }, words);
  expect([left("title"), left("subtitle"), left("=Complete")]).toEqual([
    "Schreiben Sie uns",
    "",
    "Vollständig",
  ]);
  const written = texts("de", { title: "Ask Ben" }, words);
  expect([written("title"), written("=send"), written("=Cheap {x}")]).toEqual([
    "Ask Ben",
    "send",
    "Cheap {x}",
  ]);
  expect(texts("en", { title: "Chat with us" })("title")).toBe("Chat with us");
});

test("numbers are written as the language writes them", () => {
  expect(texts("de", {})("too_long", { count: 1234 })).toBe("1.234 characters too many");
  expect(texts("ar-EG", {})("too_long", { count: 12 })).toBe("١٢ characters too many");
});

const page = () => [document.documentElement.lang, document.documentElement.dir];
const answer = (tag: string, direction: string) => Response.json({ tag, direction, words: { send: tag } });
afterEach(() => vi.unstubAllGlobals());

test("of two languages wanted one after the other the second is spoken, whichever comes first", async () => {
  const waiting: ((value: Response) => void)[] = [];
  vi.stubGlobal("location", { href: "https://chat.test/w/pk_1/" });
  vi.stubGlobal("fetch", () => new Promise<Response>((resolve) => waiting.push(resolve)));
  const first = learn("ar");
  const second = learn("de");
  waiting[1]!(answer("de", "ltr"));
  waiting[0]!(answer("ar", "rtl"));
  expect(await first).toBeNull();
  expect(await second).toEqual({ send: "de" });
  expect(page()).toEqual(["de", "ltr"]);
});

test("where another language cannot be had, the one there is stays", async () => {
  document.documentElement.lang = "fr";
  vi.stubGlobal("fetch", () => Promise.reject(new TypeError("no network")));
  expect(await learn("de")).toBeNull();
  expect(page()[0]).toBe("fr");
});
