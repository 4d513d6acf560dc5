import { expect, test } from "vitest";
import { receive } from "../src/messages";

const panel = {};
const event = (change: object) =>
  ({
    source: panel,
    origin: "https://chat.test",
    data: { chatwidget: 1, type: "ready" },
    ...change,
  }) as MessageEvent;
const heard = (change: object) => receive(event(change), panel, "https://chat.test");

test("a message counts from the right window and the right origin only", () => {
  expect(heard({})).toMatchObject({ type: "ready" });
  expect(heard({ source: {} })).toBe(null);
  expect(heard({ source: null })).toBe(null);
  expect(heard({ origin: "https://evil.test" })).toBe(null);
  expect(heard({ origin: "https://chat.test.evil.test" })).toBe(null);
});

test("what others say to each other is not for us", () => {
  for (const data of [null, undefined, "ready", { type: "ready" }, { chatwidget: 2, type: "ready" }]) {
    expect(heard({ data })).toBe(null);
  }
});

test("only the panel's first hello may come from any origin, and still not from any window", () => {
  expect(receive(event({ origin: "https://host.test" }), panel, null)).not.toBe(null);
  expect(receive(event({ source: {} }), panel, null)).toBe(null);
});
