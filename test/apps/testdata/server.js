// PAGE [WORKERS]: serves the page, and the SHA-256 of what is posted.
const cluster = require('cluster'), crypto = require('crypto'), fs = require('fs'), http = require('http');
const page = fs.readFileSync(process.argv[2]), workers = Number(process.argv[3] || 0);

if (workers && cluster.isPrimary) {
	cluster.on('online', (w) => console.log('worker', w.process.pid, 'online'));
	cluster.on('exit', () => cluster.fork());
	for (let i = 0; i < workers; i++) cluster.fork();
} else {
	http.createServer((request, response) => {
		if (request.method === 'GET') {
			response.end(page);
			return;
		}
		const hash = crypto.createHash('sha256');
		request.on('data', (d) => hash.update(d));
		request.on('end', () => response.end(hash.digest('hex')));
	}).listen(8080);
}
