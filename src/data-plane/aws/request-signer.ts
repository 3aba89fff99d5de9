/**
 * Signs requests with AWS Signature Version 4.
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
 * Invariant: a signature covers the request as it is sent, so it is written last, and again for each attempt.
 */
import { createHmac, hash } from "node:crypto";
import { SIGNATURE_START } from "../../config/aws-signature-names.ts";
import type { SignableRequest } from "../credential/injectable-request.ts";
import { type CanonicalForm, canonicalRequest } from "./canonical-request.ts";

export interface SigningKeys {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Of temporary credentials. */
  readonly sessionToken: string | undefined;
}

export interface SigningScope {
  readonly region: string;
  readonly service: string;
}

/** Of the empty body. */
const EMPTY_HASH = hash("sha256", "", "hex");

/** @param now ms since the epoch. @returns adds the signature's headers to a request that is otherwise complete. */
export function createRequestSigner(
  { accessKeyId, secretAccessKey, sessionToken }: SigningKeys,
  { region, service }: SigningScope,
  form: CanonicalForm,
  now: () => number = Date.now,
): (request: SignableRequest) => void {
  /** A key is derived for each day. */
  let day = "";
  let key: Buffer = Buffer.alloc(0);
  return (request) => {
    const { method, origin, path, headers, payload, body } = request;
    // 2026-11-30T12:00:00.000Z is written as 20261130T120000Z.
    const date = `${new Date(now()).toISOString().slice(0, 19).replaceAll(/[-:]/g, "")}Z`;
    const today = date.slice(0, 8);
    const payloadHash = payload?.word ?? hashOf(body);
    headers.push("X-Amz-Date", date, "X-Amz-Content-Sha256", payloadHash);
    if (sessionToken !== undefined) headers.push("X-Amz-Security-Token", sessionToken);
    const signed = { method, host: origin.slice(origin.indexOf("://") + 3), path, headers };
    const { text, signedHeaders } = canonicalRequest(signed, payloadHash, form);
    const scope = `${today}/${region}/${service}/aws4_request`;
    const digest = hash("sha256", Buffer.from(text, "latin1"), "hex");
    if (day !== today) {
      day = today;
      key = deriveKey(secretAccessKey, [today, region, service, "aws4_request"]);
    }
    const signature = hmac(key, `AWS4-HMAC-SHA256\n${date}\n${scope}\n${digest}`).toString("hex");
    const credential = `${SIGNATURE_START}${accessKeyId}/${scope}`;
    headers.push("Authorization", `${credential}, SignedHeaders=${signedHeaders}, Signature=${signature}`);
  };
}

function hashOf(body: unknown): string {
  return Buffer.isBuffer(body) && body.length > 0 ? hash("sha256", body, "hex") : EMPTY_HASH;
}

function deriveKey(secretAccessKey: string, scope: readonly string[]): Buffer {
  const start: Buffer = Buffer.from(`AWS4${secretAccessKey}`, "utf8");
  return scope.reduce((key, part) => hmac(key, part), start);
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac("sha256", key).update(text, "utf8").digest();
}
