// Contrast by the formula of WCAG 2, so that any brand colour gives readable text.

/** Red, green and blue, 0 to 255. */
export type Rgb = readonly [number, number, number];

const WHITE: Rgb = [255, 255, 255];
const BLACK: Rgb = [0, 0, 0];

/** Text needs this contrast to what is behind it (WCAG 1.4.3). */
export const READABLE = 4.5;

/** Reads `#rgb` or `#rrggbb`; anything else is null. */
export function parseHex(text: string | undefined): Rgb | null {
  const hex = /^#([\da-f]{3}|[\da-f]{6})$/i.exec(text ?? "")?.[1];
  if (!hex) return null;
  const size = hex.length / 3;
  const part = (i: number) => Number.parseInt(hex.slice(i * size, (i + 1) * size).repeat(3 - size), 16);
  return [part(0), part(1), part(2)];
}

export const css = (colour: Rgb) => `rgb(${colour.join(" ")})`;

function luminance(colour: Rgb): number {
  const [r, g, b] = colour.map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  }) as unknown as Rgb;
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

export function contrast(a: Rgb, b: Rgb): number {
  const [x, y] = [luminance(a) + 0.05, luminance(b) + 0.05];
  return x > y ? x / y : y / x;
}

/** White where it can be read on `colour`, else black: one of the two always can. */
export const textOn = (colour: Rgb): Rgb => (contrast(colour, WHITE) >= READABLE ? WHITE : BLACK);

/** `colour`, moved towards black or white just as far as it takes to be read as text on `background`. */
export function readableOn(colour: Rgb, background: Rgb): Rgb {
  const goal = textOn(background);
  for (let share = 0; share < 1; share += 0.05) {
    const mixed = colour.map((value, i) => Math.round(value + (goal[i]! - value) * share)) as unknown as Rgb;
    if (contrast(mixed, background) >= READABLE) return mixed;
  }
  return goal;
}
