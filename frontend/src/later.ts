// What the panel fetches once it can be used, as one file: nothing here is needed to type. See fetched.ts.
import style from "./markdown.css";

export { Lexer } from "marked";
export { learn } from "./language";
export { serve } from "./page";
export { chime } from "./sound";
export { download, transcript } from "./transcript";

const sheet = new CSSStyleSheet();
sheet.replaceSync(style);
document.adoptedStyleSheets = [sheet];
