/** Random requests for signatures, the same for the same seed: with all that a path, a query and a header may have. */

export interface RandomRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: readonly string[];
  readonly body: Buffer | null;
}

export class RandomRequests {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  /** Any bytes and spellings that HTTP allows. */
  raw(): RandomRequest {
    const segments = this.#list(0, 4, () => this.#pick(["", "", ".", "..", this.#text(RAW_PATH, 0, 8)]));
    const query = this.#list(
      0,
      4,
      () => `${this.#text(RAW_QUERY, 0, 6)}${this.#pick(["", "=", "=="])}${this.#text(RAW_QUERY, 0, 6)}`,
    );
    return this.#request(
      `/${segments.join("/")}${query.length > 0 ? `?${query.join("&")}` : this.#pick(["", "?"])}`,
      LATIN1,
    );
  }

  /** As an SDK of AWS writes them. The query is a list of decoded pairs with different names. */
  written(): RandomRequest & { readonly pairs: readonly (readonly [name: string, value: string])[] } {
    const write = (text: string) =>
      encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
    const segments = this.#list(1, 4, () => this.#text(UNICODE, 1, 8));
    const names = [...new Set(this.#list(0, 4, () => this.#text(UNICODE, 1, 6)))];
    const pairs = names.map((name) => [name, this.#text(UNICODE, 0, 8)] as const);
    const query = pairs.map((pair) => pair.map(write).join("="));
    const path = `/${segments.map(write).join("/")}${query.length > 0 ? `?${query.join("&")}` : ""}`;
    return { ...this.#request(path, ASCII), pairs };
  }

  #request(path: string, characters: readonly string[]): RandomRequest {
    const names = new Set(this.#list(0, 3, () => `x-amz-meta-${this.#text(NAME, 1, 5)}`));
    const headers = [...names].flatMap((name) => [name, this.#text(characters, 0, 10).trim()]);
    if (this.#below(2) === 0)
      headers.push("Content-Type", this.#pick(["application/json", "text/plain;  charset=utf-8"]));
    const body = this.#below(2) === 0 ? null : Buffer.from(this.#text(LATIN1, 0, 20), "latin1");
    return { method: this.#pick(body === null ? ["GET", "DELETE", "HEAD"] : ["PUT", "POST"]), path, headers, body };
  }

  #list<T>(least: number, most: number, make: () => T): T[] {
    return Array.from({ length: least + this.#below(most - least + 1) }, make);
  }

  #text(characters: readonly string[], least: number, most: number): string {
    return this.#list(least, most, () => this.#pick(characters)).join("");
  }

  #pick<T>(from: readonly T[]): T {
    return from[this.#below(from.length)] as T;
  }

  /** The generator of Park and Miller. */
  #below(limit: number): number {
    this.#state = (this.#state * 48_271) % 2_147_483_647;
    return this.#state % limit;
  }
}

const characters = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, i) => String.fromCharCode(from + i));
const escapes = (from: number) =>
  characters(from, 255).map((character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);

const VISIBLE = characters(0x21, 0x7e);
const ASCII = [...characters(0x20, 0x7e), "  "];
const LATIN1 = [...ASCII, ...characters(0xa0, 0xff)];
const NAME = characters(97, 122);
/** Without a slash: in an object key it separates segments, and S3 reads %2F as one. */
const UNICODE = [...ASCII.filter((c) => c !== "/"), "é", "ß", "日", "😀"];
const RAW_PATH = [
  ...VISIBLE.filter((c) => !"?#%\\".includes(c)),
  ...escapes(0x20).filter((c) => c !== "%5C"),
  "%2f",
  "%c3%bc",
];
const RAW_QUERY = [...VISIBLE.filter((c) => !"#%&".includes(c)), ...escapes(0x20), "%2f", "+", "__proto__", "a", "a"];
