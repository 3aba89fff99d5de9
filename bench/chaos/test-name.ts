/** A host name that resolves to 127.0.0.1 in the gateway under test, unless a fault makes its name server fail. */
export const TEST_NAME = "upstream.chaos.test";
