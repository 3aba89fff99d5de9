/** Checks the certificate that the gateway serves: its files, when it expires, and whether clients get the whole chain. */
import { describeCertificate, expiryOf, missingIssuerOf } from "../perimeter/describe-certificate.ts";
import type { ServerCertificate } from "../perimeter/server-certificate.ts";
import { plural } from "../plural.ts";
import { type Check, conclude, type Problem } from "./check.ts";

const FINDINGS = {
  unusable: {
    status: "fail",
    symptom: "the gateway does not start (exit code 1), or serves its previous certificate",
    fix: "Do what the summary says. The gateway reads the files again when they change, on SIGHUP and at POST /manage/reload.",
  },
  expired: {
    status: "fail",
    symptom: "clients refuse the connection: the certificate has expired",
    fix: "Renew the certificate: write TLS_CERT_FILE and TLS_KEY_FILE, and the gateway takes them within seconds. Or correct this machine's clock (check clock).",
  },
  urgent: {
    status: "fail",
    symptom: "clients refuse the connection after evidence.validTo",
    fix: "Renew the certificate now: write TLS_CERT_FILE and TLS_KEY_FILE, and the gateway takes them within seconds.",
  },
  expiring: {
    status: "warn",
    symptom: "clients refuse the connection after evidence.validTo",
    fix: "Check that the renewal of the certificate works, and that it writes TLS_CERT_FILE and TLS_KEY_FILE.",
  },
  early: {
    status: "warn",
    symptom: "clients refuse the connection: the certificate is not valid yet",
    fix: "Check this machine's clock (check clock), or wait until evidence.validFrom.",
  },
  incomplete: {
    status: "warn",
    symptom: "some clients refuse the connection: the issuer of the certificate is unknown to them",
    fix: "Append the intermediate certificates to TLS_CERT_FILE (certbot: fullchain.pem). If the issuer is a private root, append it too, or set NODE_EXTRA_CA_CERTS to it.",
  },
} as const;

export const tlsListener: Check = {
  id: "tls-listener",
  inspects: "the certificate that the gateway serves",
  findings: FINDINGS,
  run({ certificate }) {
    const state = certificate();
    if (state === undefined) return conclude([], "the gateway serves plain HTTP: no certificate is configured", {});
    const { current, problem, needsClientCertificate } = state;
    const unusable = problem === undefined ? [] : [{ finding: FINDINGS.unusable, message: problem.replace(/\.$/, "") }];
    if (current === undefined) return conclude(unusable, "", { certificate: null });
    const described = describeCertificate(current);
    const { daysLeft, isSelfSigned } = described;
    return conclude(
      [...unusable, ...problemsOf(current)],
      `the certificate is valid for ${plural(daysLeft, "more day")}${isSelfSigned ? ", and self-signed" : ""}`,
      { ...described, needsClientCertificate },
    );
  },
};

function problemsOf(current: ServerCertificate): Problem[] {
  const { validFrom, validTo, daysLeft } = describeCertificate(current);
  const problems: Problem[] = [];
  const expiry = expiryOf(current);
  if (expiry === "expired") {
    problems.push({ finding: FINDINGS.expired, message: `the certificate expired on ${validTo}` });
  } else if (expiry !== "later") {
    problems.push({ finding: FINDINGS[expiry], message: `the certificate expires in ${plural(daysLeft, "day")}` });
  }
  if (Date.parse(validFrom) > Date.now()) {
    problems.push({ finding: FINDINGS.early, message: `the certificate is valid from ${validFrom} on` });
  }
  const issuer = missingIssuerOf(current);
  if (issuer !== undefined) {
    const name = issuer.replaceAll("\n", ", ");
    problems.push({ finding: FINDINGS.incomplete, message: `TLS_CERT_FILE does not have the issuer ${name}` });
  }
  return problems;
}
