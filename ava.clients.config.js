import config from './ava.config.js';

export default { ...config, files: ['test/clients/**/*.test.ts'], timeout: '5m', concurrency: 1 };
