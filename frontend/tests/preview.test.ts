// @vitest-environment happy-dom
import { afterEach, expect, test } from "vitest";
import { draftOf } from "../src/preview/draft";
import type { Settings } from "../src/protocol";
import { settings } from "./samples";

afterEach(() => document.body.replaceChildren());

/** A form with one field; typing into it returns the settings that follow. */
function typing(name: string, saved: Settings = settings()): (text: string) => Settings {
  const form = document.createElement("form");
  const field = document.createElement("textarea");
  field.name = name;
  field.required = name === "title";
  form.append(field);
  document.body.append(form);
  const draft = draftOf(form, saved);
  return (text) => {
    field.value = text;
    return draft();
  };
}

test("lists are read as the server reads them: trimmed, without empty lines or repetitions", () => {
  const type = typing("starters");
  expect(type(" One? \n\nTwo?\r\nOne?").starters).toEqual(["One?", "Two?"]);
  expect(type("").starters).toEqual([]);
});

test.each([
  ["starters", "1\n2\n3\n4\n5\n6\n7"],
  ["starters", "x".repeat(121)],
])("what is too much for %s leaves what was there", (name, text) => {
  const type = typing(name);
  type("Good");
  expect(type(text).starters).toEqual(["Good"]);
});

test("reasons are keys with labels, or labels alone", () => {
  const { down } = typing("reasons_down")("wrong: Not: right\nToo long").feedback.reasons;
  expect(down).toEqual([
    { key: "wrong", label: "Not: right" },
    { key: "Too long", label: "Too long" },
  ]);
});

test.each(["wrong:", ": Wrong", "a: One\na: Two", `${"x".repeat(61)}: Long`])(
  "reasons that could not be saved leave what was there: %s",
  (text) => {
    expect(typing("reasons_down")(text).feedback.reasons).toEqual(settings().feedback.reasons);
  },
);

test("texts are names with words, and win over the fields", () => {
  const saved = settings({ texts: { title: "Shop" } });
  const type = typing("texts", saved);
  expect(type("placeholder: Ask:\\nplease\ntitle: Other").texts).toMatchObject({
    placeholder: "Ask:\nplease",
    title: "Other",
  });
  expect(type("placeholder").texts).toMatchObject({ title: "Other" });
  expect(type("").texts).toMatchObject({ title: "Shop" });
});

test("a title may not be empty, and a colour not half typed", () => {
  const title = typing("title");
  title("Shop");
  expect(title("").texts.title).toBe("Shop");
  const color = typing("color");
  color("#ffcc00");
  expect(color("#ffcc0").look.color).toBe("#ffcc00");
});

test("what the agent cannot take is not asked for, whatever is ticked", () => {
  const form = document.createElement("form");
  for (const name of ["comments_enabled", "attachments_enabled"]) {
    form.append(Object.assign(document.createElement("input"), { name, type: "checkbox", checked: true }));
  }
  document.body.append(form);
  const saved = settings({ attachments: null });
  saved.feedback.comments = false;
  expect(draftOf(form, saved)()).toMatchObject({ attachments: null, feedback: { comments: false } });
});

test("what the form does not have is as it was saved", () => {
  const saved = settings({ paused: true, starters: ["One?"] });
  expect(typing("name", saved)("Acme")).toMatchObject({ paused: true, starters: ["One?"] });
});
