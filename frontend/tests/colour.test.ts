import fc from "fast-check";
import { expect, test } from "vitest";
import { contrast, parseHex, READABLE, type Rgb, readableOn, textOn } from "../src/colour";

const channel = fc.integer({ min: 0, max: 255 });
const colour = fc.tuple(channel, channel, channel) as fc.Arbitrary<Rgb>;

test("reads short and long hex, and nothing else", () => {
  expect(parseHex("#4f46e5")).toEqual([79, 70, 229]);
  expect(parseHex("#FA0")).toEqual([255, 170, 0]);
  for (const wrong of [undefined, "", "red", "#12", "#12345", "#gggggg", "url(x)"])
    expect(parseHex(wrong)).toBe(null);
});

test("contrast is that of WCAG", () => {
  expect(contrast([0, 0, 0], [255, 255, 255])).toBeCloseTo(21);
  expect(contrast([119, 119, 119], [255, 255, 255])).toBeCloseTo(4.48, 2);
});

test("text on any brand colour can be read", () => {
  fc.assert(fc.property(colour, (brand) => contrast(textOn(brand), brand) >= READABLE));
});

test("any brand colour becomes readable as text, on light and on dark", () => {
  for (const background of [
    [255, 255, 255],
    [23, 25, 30],
  ] as const satisfies Rgb[]) {
    fc.assert(
      fc.property(colour, (brand) => contrast(readableOn(brand, background), background) >= READABLE),
    );
  }
});

/** What panel.css mixes, per theme: background, text, and the brand colour's share of a tint. */
const THEMES: [string, Rgb, Rgb, number][] = [
  ["light", [255, 255, 255], [27, 30, 37], 0.09],
  ["dark", [23, 25, 30], [236, 238, 242], 0.22],
];

test.each(THEMES)(
  "on any brand colour's %s tint text can be read, and signs be told",
  (_, back, text, share) => {
    const tint = (brand: Rgb) => back.map((part, i) => part + (brand[i]! - part) * share) as unknown as Rgb;
    fc.assert(fc.property(colour, (brand) => contrast(text, tint(brand)) >= READABLE));
    fc.assert(fc.property(colour, (brand) => contrast(readableOn(brand, back), tint(brand)) >= 3));
  },
);

test("a brand colour that can be read as it is stays as it is", () => {
  expect(readableOn([79, 70, 229], [255, 255, 255])).toEqual([79, 70, 229]);
});
