/**
 * Signs requests with an HMAC over parts of them, as exchanges such as Binance, Bybit, Coinbase and OKX want it.
 * Invariant: the signature covers the request as it is sent, so it is computed last, and again for each attempt.
 */
import { createHmac } from "node:crypto";
import type { Placement } from "../../config/placements.ts";
import type { SignRule } from "../../config/sign-schema.ts";
import { fillTemplate, parseTemplate, type Template } from "../../config/template.ts";
import type { SignableRequest } from "./injectable-request.ts";

/** @param placements those that are computed. @param secrets by name. @param now ms since the epoch. */
export function createHmacSigner(
  { secret, message, algorithm, encoding, secretEncoding, timestamp }: SignRule,
  placements: readonly Placement[],
  secrets: ReadonlyMap<string, string>,
  now: () => number = Date.now,
): (request: SignableRequest) => void {
  const key = Buffer.from(secrets.get(secret) ?? "", secretEncoding === "text" ? "utf8" : secretEncoding);
  const template = parseTemplate(message) as Template;
  // A signature covers the other parameters, so it comes after them.
  const isSignature = ({ template: { placeholders } }: Placement) =>
    placeholders.some((each) => each.secret === "signature");
  const inQuery = placements.filter(({ kind }) => kind === "query");
  const parameters = [...inQuery.filter((each) => !isSignature(each)), ...inQuery.filter(isSignature)];
  const headers = placements.filter(({ kind }) => kind === "header");
  return (request) => {
    const values = new Map(secrets).set("timestamp", writeTime(now(), timestamp));
    const fill = (written: Template) =>
      fillTemplate(written, ({ secret: name, encoding: form }) => {
        const text = values.get(name) ?? "";
        return form === "base64" ? Buffer.from(text, "utf8").toString("base64") : text;
      });
    const sign = () => values.set("signature", signatureOf(request));
    const signatureOf = ({ method, path, body }: SignableRequest) => {
      const at = path.indexOf("?");
      const [pathname, query] = at === -1 ? [path, ""] : [path.slice(0, at), path.slice(at + 1)];
      for (const [name, text] of Object.entries({ method, path: pathname, query, target: path }))
        values.set(name, text);
      const hmac = createHmac(algorithm, key);
      // The body may be of any bytes.
      for (const [index, part] of template.texts.entries()) {
        hmac.update(part, "latin1");
        const placeholder = template.placeholders[index];
        if (placeholder === undefined) break;
        if (placeholder.secret !== "body")
          hmac.update(fill({ texts: ["", ""], placeholders: [placeholder] }), "latin1");
        else if (Buffer.isBuffer(body)) hmac.update(body);
      }
      return hmac.digest(encoding);
    };
    for (const placement of parameters) {
      if (isSignature(placement) && !values.has("signature")) sign();
      const parameter = `${placement.name}=${encodeURIComponent(fill(placement.template))}`;
      request.path = `${request.path}${request.path.includes("?") ? "&" : "?"}${parameter}`;
    }
    if (!values.has("signature")) sign();
    for (const { name, template: written } of headers) request.headers.push(name, fill(written));
  };
}

function writeTime(at: number, form: SignRule["timestamp"]): string {
  if (form === "iso") return new Date(at).toISOString();
  return String(form === "seconds" ? Math.floor(at / 1_000) : at);
}
