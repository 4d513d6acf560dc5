// What the panel fetches once it can be used, as one file: nothing here is needed to type. See fetched.ts.
import files from "./files.css";
import markdown from "./markdown.css";

export { Lexer } from "marked";
export { Files } from "./files";
export { learn } from "./language";
export { serve } from "./page";
export { chime } from "./sound";
export { download, transcript } from "./transcript";

const sheet = new CSSStyleSheet();
sheet.replaceSync(markdown + files);
document.adoptedStyleSheets = [sheet];
