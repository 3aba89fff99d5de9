/**
 * Verifies AWS signatures as the documentation describes them, on the bytes that a server received. It shares no code with the gateway.
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
 */
import { createHash, createHmac } from "node:crypto";

export interface ReceivedRequest {
  readonly method: string;
  readonly url: string;
  /** Latin-1, as node:http has them. */
  readonly rawHeaders: readonly string[];
  readonly body: Buffer;
}

export interface SigningAccount {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
  readonly region: string;
  readonly service: string;
}

const AUTHORIZATION = /^AWS4-HMAC-SHA256 Credential=([^, ]+), SignedHeaders=([^, ]+), Signature=([0-9a-f]{64})$/;

const ALLOWED_SKEW_MS = 300_000;

const sha256 = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");
const mac = (key: string | Buffer, text: string) => createHmac("sha256", key).update(text).digest();

/** What is wrong; undefined for a request with a valid signature. @param now ms since the epoch. */
export function findSignatureFault(request: ReceivedRequest, account: SigningAccount, now: number): string | undefined {
  const all = headersOf(request.rawHeaders);
  const only = (name: string) => {
    const values = all.get(name) ?? [];
    if (values.length !== 1) throw new Error(`${values.length} headers ${name}`);
    return values[0] as string;
  };
  try {
    const [, credential = "", signedNames = "", signature] = AUTHORIZATION.exec(only("authorization")) ?? [];
    const date = only("x-amz-date");
    const scope = [date.slice(0, 8), account.region, account.service, "aws4_request"];
    if (credential !== [account.accessKeyId, ...scope].join("/")) throw new Error(`the credential is ${credential}`);
    const [, year, month, day, hour, minute, second] = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(date) ?? [];
    const at = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
    if (!(Math.abs(at - now) <= ALLOWED_SKEW_MS)) throw new Error(`the date is ${date}`);
    if ((all.get("x-amz-security-token") ?? []).join() !== (account.sessionToken ?? "")) throw new Error("the token");
    const names = signedNames.split(";");
    if (names.join() !== [...new Set(names)].sort().join()) throw new Error(`the order of ${signedNames}`);
    for (const name of ["host", ...all.keys()]) {
      const mustBeSigned = name === "host" || name === "content-type" || name.startsWith("x-amz-");
      if (mustBeSigned && !names.includes(name)) throw new Error(`${name} is not signed`);
    }
    const word = only("x-amz-content-sha256");
    const isHash = /^[0-9a-f]{64}$/.test(word);
    if (isHash && word !== sha256(request.body)) throw new Error("the body has another hash");
    if (!isHash && word !== "UNSIGNED-PAYLOAD" && word !== "STREAMING-UNSIGNED-PAYLOAD-TRAILER") throw new Error(word);
    const canonical = canonicalOf(request, account.service, all, names, word);
    const toSign = ["AWS4-HMAC-SHA256", date, scope.join("/"), sha256(Buffer.from(canonical, "latin1"))].join("\n");
    let key: string | Buffer = `AWS4${account.secretAccessKey}`;
    for (const part of scope) key = mac(key, part);
    if (mac(key, toSign).toString("hex") !== signature) throw new Error(`the signature; expected was\n${canonical}`);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

function headersOf(rawHeaders: readonly string[]): Map<string, string[]> {
  const all = new Map<string, string[]>();
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = (rawHeaders[i] as string).toLowerCase();
    all.set(name, [...(all.get(name) ?? []), rawHeaders[i + 1] as string]);
  }
  return all;
}

function canonicalOf(
  { method, url }: ReceivedRequest,
  service: string,
  all: ReadonlyMap<string, readonly string[]>,
  names: readonly string[],
  word: string,
): string {
  const mark = url.indexOf("?");
  const path = mark < 0 ? url : url.slice(0, mark);
  const query = mark < 0 ? "" : url.slice(mark + 1);
  const lines = names.map((name) => {
    const values = (all.get(name) ?? []).map((value) => value.split(/[ \t]+/).filter((word) => word !== ""));
    return `${name}:${values.map((words) => words.join(" ")).join(",")}\n`;
  });
  const uri = service === "s3" ? encoded(unescaped(path), "/") : encoded(Buffer.from(normalized(path), "latin1"), "/");
  return `${method}\n${uri}\n${canonicalQueryOf(query)}\n${lines.join("")}\n${names.join(";")}\n${word}`;
}

function canonicalQueryOf(query: string): string {
  const pairs = query
    .split("&")
    .filter((pair) => pair !== "")
    .map((pair) => {
      const [name = "", ...rest] = pair.replaceAll("+", "%20").split("=");
      return [encoded(unescaped(name)), encoded(unescaped(rest.join("=")))] as const;
    });
  const byBytes = (a: string, b: string) => Buffer.compare(Buffer.from(a), Buffer.from(b));
  pairs.sort((a, b) => byBytes(a[0], b[0]) || byBytes(a[1], b[1]));
  return pairs.map((pair) => pair.join("=")).join("&");
}

function normalized(path: string): string {
  const stack: string[] = [];
  const parts = path.split("/").slice(1);
  parts.forEach((part) => {
    if (part === "..") stack.splice(-1, 1);
    else if (part !== "." && part !== "") stack.push(part);
  });
  return stack.length > 0 && parts.at(-1) === "" ? `/${stack.join("/")}/` : `/${stack.join("/")}`;
}

function unescaped(text: string): Buffer {
  const bytes: number[] = [];
  for (let i = 0; i < text.length; i++) {
    const triplet = /^%[0-9a-f]{2}/i.exec(text.slice(i, i + 3));
    bytes.push(triplet === null ? text.charCodeAt(i) : Number(`0x${triplet[0].slice(1)}`));
    if (triplet !== null) i += 2;
  }
  return Buffer.from(bytes);
}

function encoded(bytes: Buffer, alsoKept = ""): string {
  let text = "";
  for (const byte of bytes) {
    const character = String.fromCharCode(byte);
    const isKept = /[A-Za-z0-9._~-]/.test(character) || (alsoKept !== "" && alsoKept.includes(character));
    text += isKept ? character : `%${Buffer.of(byte).toString("hex").toUpperCase()}`;
  }
  return text;
}
