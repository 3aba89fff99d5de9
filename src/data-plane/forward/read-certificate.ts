/** The facts of a certificate that a user can do something about. */
import type { TLSSocket } from "node:tls";
import type { ProbedCertificate } from "./probe-outcome.ts";

const DAY_MS = 86_400_000;

/** Undefined where none was shown. */
export function readCertificate(socket: TLSSocket): ProbedCertificate | undefined {
  const certificate = socket.getPeerCertificate();
  if (certificate === null || certificate.valid_to === undefined) return undefined;
  const { subject, issuer, valid_from, valid_to, subjectaltname } = certificate;
  return {
    subject: nameOf(subject),
    names: (subjectaltname ?? "").split(", ").filter((name) => name !== ""),
    issuer: nameOf(issuer),
    validFrom: new Date(valid_from).toISOString(),
    validTo: new Date(valid_to).toISOString(),
    daysLeft: Math.floor((Date.parse(valid_to) - Date.now()) / DAY_MS),
    protocol: socket.getProtocol(),
  };
}

function nameOf(name: { readonly CN?: string | string[]; readonly O?: string | string[] } | undefined): string {
  return [name?.CN, name?.O].flat().filter(Boolean).join(", ");
}
