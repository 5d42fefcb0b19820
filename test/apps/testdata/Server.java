import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.Executors;

/** PAGE: serves the page on port 8080, and echoes on port 7000. */
class Server {
    public static void main(String[] args) throws Exception {
        byte[] page = Files.readAllBytes(Path.of(args[0]));
        HttpServer http = HttpServer.create(new InetSocketAddress(8080), 128);
        http.setExecutor(Executors.newFixedThreadPool(8));
        http.createContext("/", exchange -> {
            exchange.sendResponseHeaders(200, page.length);
            exchange.getResponseBody().write(page);
            exchange.close();
        });
        http.start();
        echo();
    }

    static void echo() throws Exception {
        Selector selector = Selector.open();
        ServerSocketChannel listener = ServerSocketChannel.open();
        listener.bind(new InetSocketAddress(7000), 128).configureBlocking(false);
        listener.register(selector, SelectionKey.OP_ACCEPT);
        while (true) {
            selector.select(key -> {
                try {
                    if (key.isAcceptable()) {
                        SocketChannel c = listener.accept();
                        if (c != null) {
                            c.configureBlocking(false);
                            c.register(selector, SelectionKey.OP_READ, ByteBuffer.allocateDirect(65536));
                        }
                    } else {
                        carry(key);
                    }
                } catch (java.io.IOException e) {
                    key.cancel();
                }
            });
        }
    }

    static void carry(SelectionKey key) throws java.io.IOException {
        SocketChannel c = (SocketChannel) key.channel();
        ByteBuffer buffer = (ByteBuffer) key.attachment();
        boolean end = c.read(buffer) < 0;
        buffer.flip();
        c.write(buffer);
        boolean more = buffer.hasRemaining();
        buffer.compact();
        if (end && !more) {
            c.close();
        } else {
            key.interestOps(more ? SelectionKey.OP_WRITE : SelectionKey.OP_READ);
        }
    }
}
