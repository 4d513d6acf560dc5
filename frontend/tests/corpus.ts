// Markdown as agents write it, with what it should become, and Markdown as an attacker has them write it.
import hostile from "./hostile.json";

/** Name: source, then the HTML it should be drawn as (classes and the like left out). */
export const CONSTRUCTS: Record<string, [source: string, html: string]> = {
  paragraphs: ["one\ntwo\n\nthree", "<p>one\ntwo</p><p>three</p>"],
  emphasis: [
    "*a* _b_ **c** __d__ ***e***",
    "<p><em>a</em> <em>b</em> <strong>c</strong> <strong>d</strong> <em><strong>e</strong></em></p>",
  ],
  strike: ["~~gone~~", "<p><del>gone</del></p>"],
  "snake case": ["a long_file_name stays", "<p>a long_file_name stays</p>"],
  "inline code": ["run `a < b && c` and `` ` ``", "<p>run <code>a < b && c</code> and <code>`</code></p>"],
  fence: ["```js\nlet a = 1;\n\nlet b;\n```", "<pre><code>let a = 1;\n\nlet b;</code></pre>"],
  "tilde fence": ["~~~\na ``` b\n~~~", "<pre><code>a ``` b</code></pre>"],
  "open fence": ["```py\nprint(1)", "<pre><code>print(1)</code></pre>"],
  "fence in a list": [
    "1. a\n\n   ```\n   x\n   ```\n2. b",
    "<ol><li><p>a</p><pre><code>x</code></pre></li><li><p>b</p></li></ol>",
  ],
  "indented code": ["    four", "<pre><code>four</code></pre>"],
  headings: ["# A\n\n## B\n\n### C", "<h3>A</h3><h4>B</h4><h5>C</h5>"],
  "headings from deep": ["### A\n\n##### B\n\n# C", "<h3>A</h3><h4>B</h4><h3>C</h3>"],
  setext: ["A\n===\n\ntext", "<h3>A</h3><p>text</p>"],
  bullets: ["- a\n- b\n  - c", "<ul><li>a</li><li>b<ul><li>c</li></ul></li></ul>"],
  numbers: ["3. a\n4. b", '<ol start="3"><li>a</li><li>b</li></ol>'],
  tasks: [
    "- [x] a\n- [ ] b",
    '<ul><li><span role="img" aria-label="Done"></span>a</li><li><span role="img" aria-label="To do"></span>b</li></ul>',
  ],
  quote: ["> a\n> b", "<blockquote><p>a\nb</p></blockquote>"],
  rule: ["a\n\n---\n\nb", "<p>a</p><hr><p>b</p>"],
  "hard break": ["a  \nb\\\nc", "<p>a<br>b<br>c</p>"],
  table: [
    "| a | b |\n| :- | -: |\n| 1 | **2** |",
    '<table><thead><tr><th scope="col">a</th><th scope="col">b</th></tr></thead><tbody><tr><td>1</td><td><strong>2</strong></td></tr></tbody></table>',
  ],
  "table without edges": [
    "a | b\n--- | ---\n1 | x<br>y",
    '<table><thead><tr><th scope="col">a</th><th scope="col">b</th></tr></thead><tbody><tr><td>1</td><td>x<br>y</td></tr></tbody></table>',
  ],
  link: ['[a](https://x.test/p "T")', '<p><a href="https://x.test/p">a</a></p>'],
  "link with brackets": ["[a](https://x.test/w_(b))", '<p><a href="https://x.test/w_(b)">a</a></p>'],
  "bare link": [
    "see https://x.test/a. Then",
    '<p>see <a href="https://x.test/a">https://x.test/a</a>. Then</p>',
  ],
  autolinks: [
    "<https://x.test/> <me@x.test>",
    '<p><a href="https://x.test/">https://x.test/</a> <a href="mailto:me@x.test">me@x.test</a></p>',
  ],
  "reference link": ["[a][1]\n\n[1]: https://x.test/", '<p><a href="https://x.test/">a</a></p>'],
  image: ["![A cat](https://x.test/cat.png)", '<p><a href="https://x.test/cat.png">A cat</a></p>'],
  entities: ["&lt;b&gt; &amp; &copy; &#8364; &#x20AC; &nosuch;", "<p><b> & © € € &nosuch;</p>"],
  escapes: ["\\*a\\* 1\\. b", "<p>*a* 1. b</p>"],
};

/** None of these may leave anything but text and links to http, https and mailto. Browsers get them, too. */
export const HOSTILE: string[] = hostile;
