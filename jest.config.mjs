export default {
  testEnvironment: 'node',
  roots: ['<rootDir>/test'],
  testMatch: ['**/*.test.ts'],
  extensionsToTreatAsEsm: ['.ts'],
  transform: { '^.+\\.ts$': ['@swc/jest'] },
  moduleNameMapper: {
    '^nidomq$': '<rootDir>/lib/index.ts',
    '^nidomq/client$': '<rootDir>/lib/client/index.ts',
    '^nidomq/nest$': '<rootDir>/lib/nest/index.ts',
    '^nidomq/testing$': '<rootDir>/lib/testing/index.ts',
    '^nidomq/terminus$': '<rootDir>/lib/nest/terminus/index.ts',
    '^(\\.{1,2}/.*)\\.js$': '$1',
  },
  coverageProvider: 'v8',
  testTimeout: 20_000,
};
