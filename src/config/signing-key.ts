/**
 * Private keys that sign assertions: PEM (PKCS #8, PKCS #1 or SEC 1), a JSON Web Key (RFC 7517), or the key file of a Google service
 * account. Invariant: no message contains a part of a key.
 */
import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from "node:crypto";
import { isObject } from "../is-object.ts";

/** RFC 7518 section 3.1 and RFC 8037; only those with a key pair. */
export const SIGNING_ALGORITHMS = [
  ...(["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"] as const),
  ...(["ES256", "ES384", "ES512", "EdDSA"] as const),
] as const;

export type SigningAlgorithm = (typeof SIGNING_ALGORITHMS)[number];

export interface SigningKey {
  readonly key: KeyObject;
  readonly algorithm: SigningAlgorithm;
  /** Names the key to the server (RFC 7515 section 4.1.4). */
  readonly kid: string | undefined;
  /** Of the key file of a Google service account. */
  readonly account?: { readonly email: string | undefined; readonly tokenUrl: string | undefined };
}

/** A text that is no key that can be used. */
export interface UnusableKey {
  readonly allowed: string;
}

const KEY_FORMS =
  "a private key: PEM (PKCS #8 or PKCS #1), a JSON Web Key, or the key file of a Google service account";
/** RFC 7518 section 3.3. */
const LEAST_RSA_BITS = 2_048;
const CURVES: Readonly<Record<string, SigningAlgorithm>> = {
  prime256v1: "ES256",
  secp384r1: "ES384",
  secp521r1: "ES512",
};

/** @param wanted undefined for the algorithm that the key names, or the usual one of its type. */
export function readSigningKey(text: string, wanted: SigningAlgorithm | undefined): SigningKey | UnusableKey {
  const found = findKey(text);
  if ("allowed" in found) return found;
  const { key, named, ...others } = found;
  const possible = algorithmsOf(key);
  if (possible.length === 0) {
    return {
      allowed: `an RSA key of at least ${LEAST_RSA_BITS} bits, a key on P-256, P-384 or P-521, or an Ed25519 key`,
    };
  }
  const algorithm = wanted ?? (SIGNING_ALGORITHMS.find((each) => each === named) || possible[0]);
  if (algorithm === undefined || !possible.includes(algorithm)) {
    return { allowed: `a key for the algorithm ${algorithm}; this one is for ${possible.join(", ")}` };
  }
  return { key, algorithm, ...others };
}

/** All texts that contain the secret part of a key, for masks. */
export function secretsOfKey(text: string): string[] {
  const json = readJson(text);
  const pem = typeof json?.private_key === "string" ? json.private_key : text;
  const jwk = ["d", "p", "q", "dp", "dq", "qi"].flatMap((name) => {
    const part = json?.[name];
    return typeof part === "string" ? [part.trim()] : [];
  });
  const lines = unescaped(pem)
    .split("\n")
    // OpenSSL ignores white space at the end of a line.
    .map((line) => line.trim())
    .filter((line) => /^[A-Za-z0-9+/=]+$/.test(line) && line.length >= LEAST_MASKED_LINE);
  return [...new Set([text, pem, ...jwk, lines.join(""), ...lines])].filter((each) => each !== "");
}

/** Characters. The last line of a key may be too short to be searched for. */
const LEAST_MASKED_LINE = 16;

type FoundKey = Omit<SigningKey, "algorithm"> & {
  /** The algorithm that a JSON Web Key names. */
  readonly named: unknown;
};

function findKey(text: string): FoundKey | UnusableKey {
  const json = readJson(text);
  // RFC 7468 section 11, and the older form of RFC 1421.
  const pemText = typeof json?.private_key === "string" ? json.private_key : text;
  if (/^-----BEGIN ENCRYPTED |^Proc-Type: 4,ENCRYPTED/m.test(unescaped(pemText))) {
    return { allowed: "a private key without a passphrase" };
  }
  if (json === undefined) return keyOf(() => createPrivateKey(unescaped(text)), {});
  const { kid, alg: named, private_key: pem } = json;
  if (typeof pem === "string") {
    const account = { email: textOf(json.client_email), tokenUrl: textOf(json.token_uri) };
    return keyOf(() => createPrivateKey(unescaped(pem)), { kid: json.private_key_id, account });
  }
  const { d: _, ...publicPart } = json;
  const create = () => {
    const key = createPrivateKey({ key: json, format: "jwk" });
    checkPair(key, createPublicKey({ key: publicPart, format: "jwk" }));
    return key;
  };
  return keyOf(create, { kid, named });
}

/** A JSON Web Key names both parts, and may have those of two pairs. Node.js 24 refuses it by itself. @throws Error */
function checkPair(key: KeyObject, publicKey: KeyObject): void {
  const text = Buffer.from("text");
  const digest = /^ed/.test(key.asymmetricKeyType ?? "") ? null : "sha256";
  if (!verify(digest, text, publicKey, sign(digest, text, key))) throw new Error("the parts belong to two keys");
}

function keyOf(
  create: () => KeyObject,
  { kid, ...others }: { readonly kid?: unknown; readonly named?: unknown; readonly account?: SigningKey["account"] },
): FoundKey | UnusableKey {
  try {
    return { key: create(), named: undefined, kid: textOf(kid), ...others };
  } catch {
    return { allowed: KEY_FORMS };
  }
}

/** A variable holds a PEM text in one line, with `\n` between its lines, and sometimes in quotes. */
function unescaped(text: string): string {
  const unquoted = /^(["'`])(.*)\1$/s.exec(text.trim())?.[2] ?? text;
  return unquoted.replaceAll("\\r", "").replaceAll("\\n", "\n");
}

function readJson(text: string): Record<string, unknown> | undefined {
  if (!text.trimStart().startsWith("{")) return undefined;
  try {
    // A byte order mark is white space here.
    const json: unknown = JSON.parse(text.trim());
    return isObject(json) ? json : {};
  } catch {
    return {};
  }
}

const textOf = (value: unknown) => (typeof value === "string" && value !== "" ? value : undefined);

/** The usual one of the type of the key first. */
function algorithmsOf({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): readonly SigningAlgorithm[] {
  switch (asymmetricKeyType) {
    case "rsa":
      if ((asymmetricKeyDetails?.modulusLength ?? 0) < LEAST_RSA_BITS) return [];
      return SIGNING_ALGORITHMS.filter((each) => /^[RP]S/.test(each));
    case "ec": {
      const algorithm = CURVES[asymmetricKeyDetails?.namedCurve ?? ""];
      return algorithm === undefined ? [] : [algorithm];
    }
    case "ed25519":
      return ["EdDSA"];
    default:
      return [];
  }
}
