/**
 * Forms that carry a credential (application/x-www-form-urlencoded): which requests send one, and the client's own fields.
 * Invariant: everything but the fields of the credential stays byte for byte.
 */
import { cutParameters } from "../../callers/presented-keys.ts";
import { GatewayError } from "../../errors.ts";
import type { Exchange } from "../exchange.ts";
import type { PlacePlan } from "./place-plan.ts";

/** A longer form is no form of credentials, and every form is held in memory. */
export const FORM_BYTES_LIMIT = 65_536;

export const FORM_TYPE = "application/x-www-form-urlencoded";

/** A request with these methods may have a body that the client left out. */
const HAS_BODY: ReadonlySet<string> = new Set(["POST", "PUT", "PATCH"]);

/** Headers that a changed body would make false (RFC 9530, RFC 3230, RFC 1864). */
export const BODY_DIGESTS: readonly string[] = ["content-digest", "repr-digest", "digest", "content-md5"];

/** Whether the credential is sent in this request's body: a GET without a body has no place for it. */
export function sendsForm(plan: PlacePlan, { hasBody, method }: Pick<Exchange, "hasBody" | "method">): boolean {
  return plan.formFields.length > 0 && (hasBody || HAS_BODY.has(method));
}

/** The refusal of a body that is not a form of this size; undefined where the request may continue. */
export function decideForm(plan: PlacePlan, exchange: Exchange, serviceKey: string): GatewayError | undefined {
  if (!exchange.hasBody || plan.formFields.length === 0) return undefined;
  const { headers } = exchange.req;
  const [type = ""] = (headers["content-type"] ?? "").split(";");
  const encoding = headers["content-encoding"];
  if (type.trim().toLowerCase() !== FORM_TYPE || (encoding !== undefined && encoding.toLowerCase() !== "identity")) {
    return new GatewayError("UNSUPPORTED_MEDIA_TYPE", {
      message: `${serviceKey} takes its credential in a form, so a body must be ${FORM_TYPE} without a Content-Encoding.`,
      hint: `Send the body as ${FORM_TYPE}.`,
    });
  }
  return (exchange.announcedBytes ?? 0) > FORM_BYTES_LIMIT ? formTooLarge(serviceKey) : undefined;
}

export function formTooLarge(serviceKey: string): GatewayError {
  return new GatewayError("PAYLOAD_TOO_LARGE", {
    message: `${serviceKey} takes its credential in a form of at most ${FORM_BYTES_LIMIT} bytes.`,
  });
}

export function withoutFields(body: Buffer, { formFields }: PlacePlan): Buffer {
  const text = body.toString("latin1");
  const kept = cutParameters(text, formFields);
  return kept === text ? body : Buffer.from(kept ?? "", "latin1");
}
