<?php
foreach (glob(getenv('PLUGINS') . '/*/plugin.php') as $plugin) {
    require $plugin;
}
$name = $_GET['name'] ?? null;
header('Content-Type: text/plain; charset=utf-8');
echo $name === null ? 'Hello from PHP ' . PHP_VERSION : greeting($name), "\n";
