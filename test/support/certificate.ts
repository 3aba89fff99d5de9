/** Makes X.509 certificates (RFC 5280) for tests: node:crypto signs, and has no function that builds one. */
import { generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";

const DAY_MS = 86_400_000;

export interface Issued {
  readonly name: string;
  /** PEM of the certificate and of its private key. */
  readonly cert: string;
  readonly key: string;
  readonly privateKey: KeyObject;
}

export interface CertificateOptions {
  /** Self-signed if left out. */
  readonly issuer?: Issued;
  readonly isAuthority?: boolean;
  readonly dns?: readonly string[];
  readonly uris?: readonly string[];
  /** From now, in days. */
  readonly fromDays?: number;
  readonly days?: number;
}

export function makeCertificate(name: string, options: CertificateOptions = {}): Issued {
  const { issuer, isAuthority = false, dns = [], uris = [], fromDays = -1, days = 90 } = options;
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const algorithm = sequence(oid(ECDSA_WITH_SHA256));
  const serial = Buffer.concat([Buffer.of(0x40), randomBytes(8)]);
  const loopback = tlv(0x87, Buffer.of(127, 0, 0, 1));
  const alternative = sequence(
    ...dns.map((each) => tlv(0x82, Buffer.from(each))),
    ...uris.map((each) => tlv(0x86, Buffer.from(each))),
    loopback,
  );
  const extensions = [
    sequence(oid("2.5.29.19"), TRUE, octets(isAuthority ? sequence(TRUE) : sequence())),
    sequence(oid("2.5.29.17"), octets(alternative)),
  ];
  const body = sequence(
    tlv(0xa0, tlv(0x02, Buffer.of(2))),
    tlv(0x02, serial),
    algorithm,
    distinguished(issuer?.name ?? name),
    sequence(time(fromDays), time(days)),
    distinguished(name),
    publicKey.export({ type: "spki", format: "der" }),
    tlv(0xa3, sequence(...extensions)),
  );
  const signature = sign("sha256", body, issuer?.privateKey ?? privateKey);
  const der = sequence(body, algorithm, tlv(0x03, Buffer.concat([Buffer.of(0), signature])));
  const base64 = (der.toString("base64").match(/.{1,64}/g) ?? []).join("\n");
  return {
    name,
    cert: `-----BEGIN CERTIFICATE-----\n${base64}\n-----END CERTIFICATE-----\n`,
    key: privateKey.export({ type: "pkcs8", format: "pem" }) as string,
    privateKey,
  };
}

const ECDSA_WITH_SHA256 = "1.2.840.10045.4.3.2";
const COMMON_NAME = "2.5.4.3";
const TRUE = Buffer.of(0x01, 0x01, 0xff);

/** Tag, length, value: DER (X.690). */
function tlv(tag: number, value: Buffer): Buffer {
  const { length } = value;
  const bytes = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.of(tag, ...bytes), value]);
}

const sequence = (...members: Buffer[]) => tlv(0x30, Buffer.concat(members));
const octets = (value: Buffer) => tlv(0x04, value);

function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...others] = dotted.split(".").map(Number);
  const bytes = others.flatMap((part) => {
    const groups = [part & 0x7f];
    for (let rest = part >> 7; rest > 0; rest >>= 7) groups.unshift((rest & 0x7f) | 0x80);
    return groups;
  });
  return tlv(0x06, Buffer.of(first * 40 + second, ...bytes));
}

function distinguished(name: string): Buffer {
  return sequence(tlv(0x31, sequence(oid(COMMON_NAME), tlv(0x0c, Buffer.from(name)))));
}

/** GeneralizedTime. @param days from now. */
function time(days: number): Buffer {
  const text = new Date(Date.now() + days * DAY_MS).toISOString().replace(/[-:T]|\.\d+/g, "");
  return tlv(0x18, Buffer.from(text));
}
