import { describe, expect, test, vi } from "vitest";
import { keep } from "../src/storage";

function working() {
  const entries = new Map<string, string>();
  return {
    getItem: (name: string) => entries.get(name) ?? null,
    setItem: (name: string, value: string) => entries.set(name, value),
    removeItem: (name: string) => entries.delete(name),
  };
}

function blocked() {
  const refuse = () => {
    throw new Error("blocked");
  };
  return { getItem: refuse, setItem: refuse, removeItem: refuse };
}

describe.each([working, blocked])("in a %o storage", (storage) => {
  test("what is set can be got, until it is cleared", () => {
    vi.stubGlobal("localStorage", storage());
    const kept = keep("pk");
    kept.set("draft", "Hi");
    expect(kept.get("draft")).toBe("Hi");
    kept.set("draft", "");
    expect(kept.get("draft")).toBe(null);
  });
});

test("widgets on one origin do not see each other's", () => {
  vi.stubGlobal("localStorage", working());
  keep("pk").set("token", "t");
  expect(keep("pk").get("token")).toBe("t");
  expect(keep("other").get("token")).toBe(null);
});

test("what somebody else wrote into our entry counts as nothing", () => {
  vi.stubGlobal("localStorage", { getItem: () => "{broken" });
  expect(keep("pk").get("outbox")).toBe(null);
});
