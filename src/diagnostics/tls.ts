/** Checks an upstream's certificate: whether it is accepted, and when it expires. */
import { plural } from "../plural.ts";
import { conclude, type Problem, type ServiceCheck } from "./check.ts";

const FINDINGS = {
  refused: {
    status: "fail",
    symptom: "502 UPSTREAM_TLS_ERROR",
    fix: "The summary has the reason. Expired or not valid yet: check this machine's clock (check clock), or ask the operator of the upstream to renew the certificate. Self-signed or from an unknown authority, for example behind a proxy that intercepts TLS: set tls.caFile or NODE_EXTRA_CA_CERTS. Another name: fix baseUrl or set tls.servername.",
  },
  expiring: {
    status: "warn",
    symptom: "502 UPSTREAM_TLS_ERROR after evidence.certificate.validTo",
    fix: "Ask the operator of the upstream to renew the certificate.",
  },
  unverified: {
    status: "warn",
    symptom: "a program between the gateway and the upstream can read the credential",
    fix: "Remove STRICT_TLS=false or tls.strict: false. To trust a private authority, set tls.caFile.",
  },
  unseen: {
    status: "warn",
    symptom: "the certificate could not be checked",
    fix: "Fix the connection first: see the check reach of the same service.",
  },
} as const;

const SOON_DAYS = 14;

export const tls: ServiceCheck = {
  id: "tls",
  needs: "configuration",
  inspects: "the certificate of each https upstream in use",
  findings: FINDINGS,
  async run({ service, isTlsStrict }, _, probes) {
    if (!service.baseUrl.toLowerCase().startsWith("https:")) return undefined;
    const outcome = await probes.of(service.key);
    const certificate = outcome?.certificate ?? null;
    const evidence = { certificate, strict: isTlsStrict };
    const problems: Problem[] = [];
    if (!isTlsStrict) {
      problems.push({ finding: FINDINGS.unverified, message: `the certificate of ${service.key} is not verified` });
    }
    if (outcome?.code === "UPSTREAM_TLS_ERROR") {
      problems.push({ finding: FINDINGS.refused, message: outcome.error ?? "the TLS handshake failed" });
    } else if (certificate === null) {
      problems.push({ finding: FINDINGS.unseen, message: `no certificate was received from ${service.key}` });
    } else if (certificate.daysLeft < SOON_DAYS && isTlsStrict) {
      problems.push({
        finding: FINDINGS.expiring,
        message: `the certificate of ${service.key} expires in ${plural(certificate.daysLeft, "day")}`,
      });
    }
    return conclude(
      problems,
      `the certificate is valid for ${plural(certificate?.daysLeft ?? 0, "more day")}`,
      evidence,
    );
  },
};
