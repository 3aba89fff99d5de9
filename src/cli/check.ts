/** `byteproxy check [file]`: validates the configuration that a start would use, without starting. */
import { resolve } from "node:path";
import { credentialState } from "../config/credentials.ts";
import { ConfigProblems } from "../config/problems.ts";
import { CertificateUnusable, examineCertificate } from "../perimeter/server-certificate.ts";
import { plural } from "../plural.ts";
import { readConfiguration } from "../start/read-configuration.ts";
import { startFailure } from "../start/start-failure.ts";

export interface CheckOutcome {
  readonly text: string;
  /** 0 for a valid configuration, 2 for one with problems. */
  readonly exitCode: 0 | 2;
}

/** @param file the services file to use instead of CONFIG_FILE. @throws CliFailure for a DATA_DIR, or TLS files, that a start could not use. */
export async function check(file: string | undefined, isJson: boolean): Promise<CheckOutcome> {
  try {
    const commandLine: Record<string, string> = file === undefined ? {} : { CONFIG_FILE: resolve(file) };
    const { services: all, settings, warnings } = await readConfiguration({ commandLine });
    const certificate = examineCertificate(settings);
    if (certificate?.problem !== undefined) throw new CertificateUnusable(certificate.problem);
    const services = [...all.values()].map((service) => ({ key: service.key, credential: credentialState(service) }));
    const lines = [
      ...warnings.map((warning) => `warning: ${warning}`),
      `The configuration is valid: ${plural(services.length, "service")}.`,
    ];
    return { text: isJson ? toJson({ ok: true, problems: [], warnings, services }) : lines.join("\n"), exitCode: 0 };
  } catch (error) {
    if (!(error instanceof ConfigProblems)) throw startFailure(error);
    const { problems } = error;
    return {
      text: isJson ? toJson({ ok: false, problems, warnings: [], services: [] }) : problems.join("\n"),
      exitCode: 2,
    };
  }
}

const toJson = (value: unknown) => JSON.stringify(value, null, 2);
