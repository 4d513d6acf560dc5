import fc from "fast-check";
import { expect, test } from "vitest";
import { backoff } from "../src/backoff";

test("the longest wait doubles from half a second to half a minute, and stays there", () => {
  const longest = [0, 1, 2, 3, 4, 5, 6, 7, 50].map((attempt) => backoff(attempt, () => 1));
  expect(longest).toEqual([500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
});

test("every wait between nothing and the longest is as likely as any other", () => {
  fc.assert(
    fc.property(fc.nat(100), fc.double({ min: 0, max: 1, noNaN: true }), (attempt, drawn) => {
      expect(backoff(attempt, () => drawn)).toBeCloseTo(backoff(attempt, () => 1) * drawn);
    }),
  );
});
